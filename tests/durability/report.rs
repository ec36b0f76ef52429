//! What a run prints: its counts, even if all promises hold, and the violations.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
};

use crate::history::{History, Problem, Section, Step, Work};

/// Prints a line to stderr. `println!` would be captured by the test harness until the test fails.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("durability: {text}\n").as_bytes());
}

/// How many violations of one statement are shown.
const SHOWN: usize = 3;

/// The figures of a history.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were acknowledged to writers.
    pub acknowledged: usize,
    /// Events that were delivered to readers.
    pub delivered: usize,
    /// How often a stream broke and was resumed.
    pub breaks: usize,
    /// Events that were delivered again after a section resumed from its last cursor.
    pub duplicates: usize,
    /// Events that a section should have received up to its position and did not, and sequence numbers missing from logs.
    pub holes: usize,
    /// Sections that were refused because their cursor had expired.
    pub expired: usize,
    /// Uncommitted events that were redelivered to a durable consumer.
    pub redelivered: usize,
}

impl Counts {
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

/// Events that were delivered more than once to a section.
fn again(section: &Section) -> usize {
    let mut ids = BTreeSet::new();
    section.events().filter(|delivered| !ids.insert(&delivered.event_id)).count()
}

/// Events that a section should have received and did not.
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
    /// Prints the counts, even if the test passes, and the problems.
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
