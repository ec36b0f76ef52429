//! Marks: what an event is recognised by in every history that its log may have.

use std::fmt;

use parley_types::time::Micros;

/// 48 random bits that the events of one write share. A mark begins the `event_id`, so it is stored with the event, survives its erasure, and
/// is read from the first bytes of a payload without decoding the rest.
///
/// Account, seq and mark identify an event, and with it everything before it: rows are stored in the order of their seqs, so a database
/// that holds this event is a copy of one that held it, and of all that came before. Events of releases before marks have their epoch in
/// this place, which is the same in all copies of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// Bits of a mark.
const BITS: u32 = 48;

/// The first byte of an encoded event: `event_id`, which is never empty.
const EVENT_ID: u8 = 0x0a;

/// First bytes of a payload that hold the mark: the tag, the length, and the `event_id` up to its first dash.
pub(super) const PREFIX_BYTES: usize = 24;

impl Mark {
    /// Bytes of a mark in a cursor.
    pub const BYTES: usize = 6;

    /// The mark of a new write. The time is mixed in because a copy of a running process (a snapshot of a virtual machine) has the same
    /// random generator, but runs later.
    pub fn random(at: Micros) -> Self {
        /// An odd number whose bits are spread, so that the low bits of the time reach all bits of the mark.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = rand::random::<u64>() ^ at.0.cast_unsigned().wrapping_mul(SPREAD);
        Self(mixed >> (u64::BITS - BITS))
    }

    /// The mark of an encoded event, of which the first bytes suffice; none for what is no event of ours.
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let text = payload.strip_prefix(&[EVENT_ID])?.get(1..)?;
        Self::of_bytes(text)
    }

    /// The mark of an event with this `event_id`.
    pub fn of_event_id(id: &str) -> Option<Self> {
        Self::of_bytes(id.as_bytes())
    }

    fn of_bytes(id: &[u8]) -> Option<Self> {
        let end = id.iter().take(PREFIX_BYTES).position(|byte| *byte == b'-')?;
        let digits = std::str::from_utf8(&id[..end]).ok()?;
        u64::from_str_radix(digits, 16).ok().filter(|mark| mark >> BITS == 0).map(Self)
    }

    /// As a column stores it.
    pub fn to_stored(self) -> i64 {
        self.0.cast_signed()
    }

    /// From a column.
    pub fn from_stored(stored: i64) -> Self {
        Self(stored.cast_unsigned())
    }

    /// As a cursor holds it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [_, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// From a cursor.
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
        fn a_mark_is_read_from_the_first_bytes_of_its_event(at in any::<i64>(), account in 1..i64::MAX, seq in 1..i64::MAX) {
            let mark = Mark::random(Micros(at));
            let payload = payload(format!("{mark}-{account}-{seq}"));
            prop_assert_eq!(Mark::of_payload(&payload[..PREFIX_BYTES.min(payload.len())]), Some(mark));
            prop_assert_eq!(Mark::from_bytes(mark.to_bytes()), mark);
            prop_assert_eq!(Mark::from_stored(mark.to_stored()), mark);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Mark::of_payload(&bytes);
        }
    }

    #[test]
    fn an_event_of_an_earlier_release_has_its_epoch_as_mark() {
        let [first, second] = ["deadbeef-1-40", "deadbeef-1-41"].map(|id| Mark::of_payload(&payload(id.to_owned())));
        assert_eq!(first, Some(Mark(0xdead_beef)));
        assert_eq!(first, second);
        assert_eq!(Mark::of_event_id("deadbeef-1-40"), first);
    }

    #[test]
    fn other_texts_have_no_mark() {
        for id in ["", "-1-2", "x-1-2", "0123456789abcdef0-1-2", "1000000000000-1-2", "abc"] {
            assert_eq!(Mark::of_event_id(id), None, "{id}");
        }
    }
}
