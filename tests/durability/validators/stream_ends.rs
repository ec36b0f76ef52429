//! Statements 15, 16 and 21: slow readers, the ends of streams, and ephemeral events.

use tonic::Code;

use super::{Complaints, called};
use crate::history::{Ending, History, Step};

/// A reader that keeps reading is never disconnected for being slow: each one reached the head or left by itself.
pub fn statement_15_a_slow_reader_is_never_cut(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        if section.stuck {
            let last = section.steps.iter().rev().find(|step| matches!(step, Step::Ended(_)));
            let (position, snapshot) = (section.position(), section.complete.is_some());
            complaints.push(format!(
                "{} came to {position} and no further, snapshot {snapshot}, {last:?}",
                called(section)
            ));
        }
        for step in &section.steps {
            if let Step::Ended(
                ending @ Ending::Status {
                    code: Code::DeadlineExceeded,
                    ..
                },
            ) = step
            {
                complaints.push(format!("{}: {ending:?}", called(section)));
            }
        }
    }
    complaints
}

/// A stream ends with a status that says what to do, or because the connection or the process broke. It never ends with OK.
pub fn statement_16_streams_end_with_a_status(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        let mut seen = false;
        for step in &section.steps {
            match step {
                Step::Ended(ending) => {
                    if !is_good(ending, seen) {
                        complaints.push(format!("{}: {ending:?}", called(section)));
                    }
                    seen = false;
                }
                Step::Event(_) | Step::Bookmark(_) => seen = true,
                Step::Ephemeral(_) => {}
            }
        }
    }
    complaints
}

fn is_good(ending: &Ending, seen: bool) -> bool {
    match ending {
        Ending::Broken | Ending::Silent => true,
        Ending::Well => false,
        Ending::Status {
            code,
            reason,
            retry,
            cursor,
            ..
        } => match code {
            Code::Unavailable if reason == "STREAM_ROTATED" => *retry && (*cursor || !seen),
            Code::Unavailable | Code::ResourceExhausted => *retry,
            Code::OutOfRange => true,
            _ => false,
        },
    }
}

/// An ephemeral event is about something that happened, and is not in the log.
pub fn statement_21_ephemeral_things(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        for step in &section.steps {
            if let Step::Ephemeral(conversation) = step
                && !history.typed.contains(&(section.account, *conversation))
            {
                complaints.push(format!("{}: nobody typed in {conversation}", called(section)));
            }
        }
    }
    for (account, archive) in &history.archives {
        for event in archive.events.values().filter(|event| event.kind_name.contains("typing")) {
            complaints.push(format!("account {account}: {} stands at {}", event.kind_name, event.seq));
        }
    }
    complaints
}
