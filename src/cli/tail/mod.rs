//! `parley tail`: follows the events of an account in a terminal, or as JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, Local, Utc};
use prost_types::Timestamp;

use super::{Exit, complain, connect::Target};
use crate::client::{Step, Subscriber};
use crate::pb::{self, EventDelivery, EventFilter, EventKind, subscribe_request::Start};

pub mod line;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Whose events
    #[arg(long, default_value_t = 1)]
    account: i64,
    /// Where to start: earliest, latest, a cursor in hexadecimal, or a time such as 2026-01-31T00:00:00Z
    #[arg(long, default_value = "latest", value_parser = start)]
    from: Start,
    /// Only this kind, such as message.created; may be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Only events about this inbox; may be repeated
    #[arg(long = "inbox", value_name = "ID")]
    inboxes: Vec<i64>,
    /// Only events about this conversation; may be repeated
    #[arg(long = "conversation", value_name = "ID")]
    conversations: Vec<i64>,
    /// One JSON object a line, with every field
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(sentence) => {
            complain(&sentence);
            return Exit::Usage;
        }
    };
    let filter = EventFilter {
        kinds: args.kinds.into_iter().map(i32::from).collect(),
        inbox_ids: args.inboxes,
        conversation_ids: args.conversations,
        ..EventFilter::default()
    };
    let mut subscriber = Subscriber::new(server, args.account, Some(args.from), filter);
    let coloured = coloured();
    let mut resuming = false;
    loop {
        match subscriber.next().await {
            Ok(Step::Response(response)) => {
                if std::mem::take(&mut resuming) {
                    eprintln!("parley: following again");
                }
                if show(&response.events, args.json, coloured).is_err() {
                    // Whoever read the output left, as `head` does.
                    return Exit::Ok;
                }
            }
            Ok(Step::Resuming { why, pause }) => {
                resuming = true;
                eprintln!("parley: {why}; reconnecting in {:.1} s", pause.as_secs_f64());
            }
            Err(error) => {
                complain(&error.to_string());
                return Exit::Failure;
            }
        }
    }
}

fn show(events: &[EventDelivery], as_json: bool, coloured: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for delivery in events {
        if as_json {
            writeln!(out, "{}", pb::json::delivery(delivery))?;
        } else {
            writeln!(out, "{}", line::delivery(delivery, &Local, coloured))?;
        }
    }
    out.flush()
}

/// Colours are for a terminal, unless <https://no-color.org> says no.
fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest(())),
        "latest" => return Ok(Start::Latest(())),
        _ => {}
    }
    if let Ok(time) = text.parse::<DateTime<Utc>>() {
        return Ok(Start::At(Timestamp {
            seconds: time.timestamp(),
            nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
        }));
    }
    match hex::decode(text) {
        Ok(cursor) if !cursor.is_empty() => Ok(Start::After(cursor.into())),
        _ => Err("must be earliest, latest, a cursor in hexadecimal, or a time such as 2026-01-31T00:00:00Z".to_owned()),
    }
}

/// `message.created` as the contract's kind: the name with `_` for `.` is that of the enum's value.
fn kind(text: &str) -> Result<EventKind, String> {
    let name = format!("EVENT_KIND_{}", text.replace('.', "_").to_uppercase());
    EventKind::from_str_name(&name)
        .filter(|kind| *kind != EventKind::Unspecified)
        .ok_or_else(|| "must be a kind of event, such as message.created".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_start_is_read() {
        assert_eq!(start("earliest").unwrap(), Start::Earliest(()));
        assert_eq!(start("latest").unwrap(), Start::Latest(()));
        assert_eq!(start("0a0b").unwrap(), Start::After(vec![10, 11].into()));
        let time = start("1970-01-01T01:00:01.5+01:00").unwrap();
        assert_eq!(
            time,
            Start::At(Timestamp {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        for bad in ["", "yesterday", "0a0"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_are_read_by_their_names() {
        assert_eq!(kind("message.created").unwrap(), EventKind::MessageCreated);
        assert_eq!(kind("conversation.status_changed").unwrap(), EventKind::ConversationStatusChanged);
        assert_eq!(kind("first.reply.created").unwrap(), EventKind::FirstReplyCreated);
        assert!(kind("message.exploded").is_err());
        assert!(kind("unspecified").is_err());
    }
}
