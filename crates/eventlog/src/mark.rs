//! Marks: random bits stored with each event. They tell apart events with the same seq in diverged copies of a log, for example after a
//! backup was restored.

use std::fmt;

use parley_types::time::Micros;

/// 48 random bits that the events of one write share. The `event_id` begins with the mark, so the mark is stored with the event, survives
/// the event's erasure, and can be read from the first bytes of a payload without decoding the rest.
///
/// Account, seq and mark identify an event and everything before it: rows are stored in the order of their seqs, so a database that
/// contains this event is a copy of a database that contained the event and all earlier events. In events written by releases without
/// marks, the `event_id` begins with the log's epoch instead, which is the same in all copies of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

const BITS: u32 = 48;

/// The first byte of an encoded event: the key of the field `event_id`, which is never empty.
const EVENT_ID: u8 = 0x0a;

/// Length of the payload prefix that contains the mark: the field key, the length, and the `event_id` up to its first hyphen.
pub(super) const PREFIX_BYTES: usize = 24;

impl Mark {
    /// Size of a mark in a cursor, in bytes.
    pub const BYTES: usize = 6;

    /// Creates the mark of a new write. The time is mixed in because a copy of a running process (from a snapshot of a virtual machine) has
    /// the same state of the random number generator, but runs later.
    pub fn random(at: Micros) -> Self {
        /// 2^64 divided by the golden ratio: an odd number with well-spread bits, so that the low bits of the time affect all bits of the
        /// mark.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = rand::random::<u64>() ^ at.0.cast_unsigned().wrapping_mul(SPREAD);
        Self(mixed >> (u64::BITS - BITS))
    }

    /// Reads the mark from an encoded event, of which the first bytes suffice. Returns `None` if the payload is not an event.
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let text = payload.strip_prefix(&[EVENT_ID])?.get(1..)?;
        Self::of_bytes(text)
    }

    /// Reads the mark from an `event_id`. Returns `None` if the id does not begin with a mark.
    pub fn of_event_id(id: &str) -> Option<Self> {
        Self::of_bytes(id.as_bytes())
    }

    fn of_bytes(id: &[u8]) -> Option<Self> {
        let end = id.iter().take(PREFIX_BYTES).position(|byte| *byte == b'-')?;
        let digits = std::str::from_utf8(&id[..end]).ok()?;
        u64::from_str_radix(digits, 16).ok().filter(|mark| mark >> BITS == 0).map(Self)
    }

    /// Converts the mark to its value in a database column.
    pub fn to_stored(self) -> i64 {
        self.0.cast_signed()
    }

    /// Converts the value of a database column to a mark.
    pub fn from_stored(stored: i64) -> Self {
        Self(stored.cast_unsigned())
    }

    /// Converts the mark to its big-endian bytes in a cursor.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [_, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// Converts the big-endian bytes in a cursor to a mark.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let mut whole = [0; 8];
        whole[2..].copy_from_slice(&bytes);
        Self(u64::from_be_bytes(whole))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use parley_proto as pb;

    fn payload(event_id: String) -> Vec<u8> {
        pb::Event {
            event_id,
            kind_name: "message.created".to_owned(),
            ..pb::Event::default()
        }
        .encode_to_vec()
    }

    proptest! {
        #[test]
        fn mark_is_decoded_from_the_event_prefix(at in any::<i64>(), account in 1..i64::MAX, seq in 1..i64::MAX) {
            let mark = Mark::random(Micros(at));
            let payload = payload(format!("{mark}-{account}-{seq}"));
            prop_assert_eq!(Mark::of_payload(&payload[..PREFIX_BYTES.min(payload.len())]), Some(mark));
            prop_assert_eq!(Mark::from_bytes(mark.to_bytes()), mark);
            prop_assert_eq!(Mark::from_stored(mark.to_stored()), mark);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Mark::of_payload(&bytes);
        }
    }

    #[test]
    fn legacy_event_uses_its_epoch_as_mark() {
        let [first, second] = ["deadbeef-1-40", "deadbeef-1-41"].map(|id| Mark::of_payload(&payload(id.to_owned())));
        assert_eq!(first, Some(Mark(0xdead_beef)));
        assert_eq!(first, second);
        assert_eq!(Mark::of_event_id("deadbeef-1-40"), first);
    }

    #[test]
    fn malformed_event_ids_have_no_mark() {
        for id in ["", "-1-2", "x-1-2", "0123456789abcdef0-1-2", "1000000000000-1-2", "abc"] {
            assert_eq!(Mark::of_event_id(id), None, "{id}");
        }
    }
}
