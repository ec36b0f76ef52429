//! The validators of the stream's contract, one per statement: each reads a recorded history and returns the violations.
//!
//! The reference is the log as it was in the database ([`crate::archive`]). `doctored` contains, for each validator, a history that it must
//! refuse.

mod consumers;
mod doctored;
mod keeping;
mod order;
mod reading;
mod rows;
mod stream_ends;

use std::collections::BTreeSet;

use crate::{
    archive::{Archive, Logged},
    history::{Begin, History, Section},
};

/// Descriptions of violations.
pub type Complaints = Vec<String>;

/// All validators; the first is that of statement 1.
pub const ALL: [fn(&History) -> Complaints; 22] = [
    order::statement_01_ordered,
    order::statement_02_dense,
    order::statement_03_unique,
    order::statement_04_atomic,
    rows::statement_05_no_phantom_no_orphan,
    reading::statement_06_resumable,
    reading::statement_07_an_expired_cursor_is_loud,
    reading::statement_08_bookmarks_tell_the_truth,
    reading::statement_09_snapshot_then_tail,
    reading::statement_10_start_anywhere,
    reading::statement_11_filters,
    consumers::statement_12_two_calls,
    consumers::statement_13_consume_commits_cumulatively,
    consumers::statement_14_credit,
    stream_ends::statement_15_a_slow_reader_is_never_cut,
    stream_ends::statement_16_streams_end_with_a_status,
    keeping::statement_17_retention,
    rows::statement_18_read_your_writes,
    keeping::statement_19_epoch,
    rows::statement_20_one_envelope,
    stream_ends::statement_21_ephemeral_things,
    keeping::statement_22_erasure,
];

impl History {
    /// The log that a section follows, or an empty one if the log was never copied.
    fn archive(&self, account: i64) -> &Archive {
        static NONE: std::sync::LazyLock<Archive> = std::sync::LazyLock::new(Archive::default);
        self.archives.get(&account).unwrap_or(&NONE)
    }

    /// The erased contacts of an account.
    fn erased_contacts(&self, account: i64) -> BTreeSet<i64> {
        let own = self.erased.iter().filter(|(of, ..)| *of == account);
        own.map(|(_, contact, _)| *contact).collect()
    }

    /// The first sequence number that a section had to receive if it matches the filter, or `None` if the history does not determine it.
    fn first_due(&self, section: &Section) -> Option<u64> {
        let archive = self.archive(section.account);
        let given = section.events().next().map(|delivered| delivered.seq);
        let floor = (section.floor > 0).then_some(section.floor);
        match section.begin {
            Begin::After(seq) => Some(seq + 1),
            Begin::At { micros, head } => {
                let first = archive.events.values().find(|event| event.occurred_at >= micros);
                let first = first.map_or(archive.head + 1, |event| event.seq);
                Some(given.filter(|given| (head + 1..first).contains(given)).unwrap_or(first))
            }
            Begin::Snapshot => {
                let complete = section.complete.as_ref()?;
                let place = self.place(section.account, complete)?;
                Some(place + 1)
            }
            Begin::Earliest | Begin::Latest { .. } => floor.into_iter().chain(given).min(),
        }
    }

    /// The sequence number of a cursor.
    fn place(&self, account: i64, cursor: &[u8]) -> Option<u64> {
        self.places.get(&(account, cursor.to_vec())).copied()
    }

    /// The events that a section had to receive up to its position.
    pub fn due<'a>(&'a self, section: &'a Section) -> Vec<&'a Logged> {
        let (Some(first), position) = (self.first_due(section), section.position()) else {
            return Vec::new();
        };
        if first > position {
            return Vec::new();
        }
        let events = self.archive(section.account).events.range(first..=position);
        events
            .map(|(_, event)| event)
            .filter(|event| event.passes(&section.filter))
            .collect()
    }
}

/// The name of a section in complaints.
fn called(section: &Section) -> String {
    format!(
        "{} of account {} ({:?} from {:?})",
        section.reader, section.account, section.api, section.begin
    )
}
