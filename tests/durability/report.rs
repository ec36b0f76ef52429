//! What a run prints: its counts, also when everything holds, and what does not hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
};

use crate::history::{History, Problem, Section, Step, Work};

/// Prints a line. Not by `println!`, which the test program keeps to itself while tests hold.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("durability: {text}\n").as_bytes());
}

/// Problems of one statement that are shown.
const SHOWN: usize = 3;

/// What was counted in a history.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that writers were told of.
    pub acknowledged: usize,
    /// Events that readers were given.
    pub delivered: usize,
    /// How often readings broke off and went on.
    pub breaks: usize,
    /// Events that came again in a reading that went on after its last cursor.
    pub duplicates: usize,
    /// Events that were due to a reading, up to where it came, and did not come; and places of logs that stayed empty.
    pub holes: usize,
    /// Readings that were told that their place is gone.
    pub expired: usize,
    /// Events that a durable consumer was given again, because they were not committed.
    pub redelivered: usize,
}

impl Counts {
    /// Counts.
    pub fn of(history: &History) -> Self {
        let steps = || history.sections.iter().flat_map(|section| &section.steps);
        let empty = history.archives.values().map(|archive| {
            let head = usize::try_from(archive.head).expect("a few millions");
            head.saturating_sub(archive.events.len())
        });
        Self {
            acknowledged: history.writers.iter().map(Vec::len).sum(),
            delivered: history.sections.iter().map(|section| section.events().count()).sum(),
            breaks: steps().filter(|step| matches!(step, Step::Ended(_))).count(),
            duplicates: history.sections.iter().map(again).sum(),
            holes: history.sections.iter().map(|section| missing(history, section)).chain(empty).sum(),
            expired: steps()
                .filter(|step| matches!(step, Step::Ended(ending) if ending.is_lost()))
                .count(),
            redelivered: redelivered(history),
        }
    }
}

/// Events that a reading was given more than once.
fn again(section: &Section) -> usize {
    let mut ids = BTreeSet::new();
    section.events().filter(|delivered| !ids.insert(&delivered.event_id)).count()
}

/// Events that were due to a reading and did not come.
fn missing(history: &History, section: &Section) -> usize {
    let given: BTreeSet<u64> = section.events().map(|delivered| delivered.seq).collect();
    history.due(section).iter().filter(|event| !given.contains(&event.seq)).count()
}

fn redelivered(history: &History) -> usize {
    let mut given = BTreeSet::new();
    let sessions = history.sessions.iter();
    let works = sessions.flat_map(|session| session.steps.iter().map(move |work| (session.consumer, work)));
    works
        .filter(|(consumer, work)| matches!(work, Work::Given(seq, ..) if !given.insert((*consumer, *seq))))
        .count()
}

impl History {
    /// Prints lines of counts, also when the test holds, and what problems there are.
    pub fn report(&self, name: &str, seed: u64, problems: &[Problem]) {
        let counts = Counts::of(self);
        let events: usize = self.archives.values().map(|archive| archive.events.len()).sum();
        let trimmed: u64 = self.archives.values().map(|archive| archive.earliest.saturating_sub(1)).sum();
        let sessions = self.sessions.iter().filter(|session| !session.steps.is_empty()).count();
        let mut text = format!(
            "durability: {name}, seed {seed}: acknowledged {} messages and {} other changes, {events} events in {} accounts, {trimmed} trimmed; \
             delivered {} events to {} readings over {} breaks, {} duplicates across reconnects, {} holes, {} told of what is gone; {sessions} \
             sessions of durable consumers, {} events given them again; {} messages heard at /cable; {} reads of what was just written; {} contacts erased; {} problems\n",
            counts.acknowledged,
            self.done.len(),
            self.archives.len(),
            counts.delivered,
            self.sections.len(),
            counts.breaks,
            counts.duplicates,
            counts.holes,
            counts.expired,
            counts.redelivered,
            self.heard.iter().map(|heard| heard.messages.len()).sum::<usize>(),
            self.read_backs.len(),
            self.erased.len(),
            problems.len()
        );
        let mut kinds: BTreeMap<u8, usize> = BTreeMap::new();
        for problem in problems {
            let count = kinds.entry(problem.statement).or_default();
            *count += 1;
            if *count <= SHOWN {
                let _ = writeln!(text, "durability:   statement {}: {}", problem.statement, problem.text);
            }
        }
        if !kinds.is_empty() {
            let _ = writeln!(text, "durability:   by statement: {kinds:?}");
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
