//! Cursors: positions in the log of an account, encoded as opaque bytes.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, Epoch, Seq},
};
use prost::encoding::{decode_varint, encode_varint};

use crate::mark::Mark;

/// A position in the log of `account`: after the event `seq` of the history `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub account: AccountId,
    pub epoch: Epoch,
    pub seq: Seq,
    /// The mark of the event at `seq`. `None` before the first event, and in a cursor issued by a release without marks.
    pub mark: Option<Mark>,
}

/// The first byte of an encoded cursor without a [`Mark`].
const UNMARKED: u8 = 1;

/// The first byte of an encoded cursor with a [`Mark`].
const MARKED: u8 = 2;

/// Whether cursors are issued with their marks. A process serves a single database, so this is a property of the process.
static MARKS_ISSUED: AtomicBool = AtomicBool::new(true);

/// Sets whether this process issues cursors with their marks: replicas of a release without marks reject marked cursors. Marked cursors
/// that this process receives are checked in either case.
pub fn set_marks_issued(issue: bool) {
    MARKS_ISSUED.store(issue, Ordering::Relaxed);
}

impl Cursor {
    /// Encodes the cursor as a format byte, three varints, the mark if there is one, and a CRC-32: about 20 bytes. The checksum detects
    /// corruption, not tampering: a forged cursor grants no access to anything that its caller could not read anyway.
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(32);
        self.put(&mut out);
        out.freeze()
    }

    /// Appends the encoded cursor to `out`.
    pub fn put(self, out: &mut BytesMut) {
        let start = out.len();
        let mark = self.mark.filter(|_| MARKS_ISSUED.load(Ordering::Relaxed));
        out.put_u8(if mark.is_some() { MARKED } else { UNMARKED });
        encode_varint(self.account.0.cast_unsigned(), out);
        encode_varint(self.epoch.0.cast_unsigned(), out);
        encode_varint(self.seq.0.cast_unsigned(), out);
        if let Some(mark) = mark {
            out.put_slice(&mark.to_bytes());
        }
        let sum = crc32fast::hash(&out[start..]);
        out.put_u32(sum);
    }

    /// Decodes a cursor that was received in the request field `field`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if [`Cursor::encode`] did not produce `bytes`.
    pub fn decode(field: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).ok_or_else(|| {
            Error::invalid(
                field,
                Rule::Invalid,
                "must be an unchanged cursor from a response, a delivery or a bookmark",
            )
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(body).to_be_bytes() != sum {
            return None;
        }
        let (form, rest) = body.split_first()?;
        let (mut rest, mark) = match *form {
            UNMARKED => (rest, None),
            MARKED => {
                let (rest, mark) = rest.split_last_chunk()?;
                (rest, Some(Mark::from_bytes(*mark)))
            }
            _ => return None,
        };
        let mut number = || decode_varint(&mut rest).ok().and_then(|number| i64::try_from(number).ok());
        let cursor = Self {
            account: AccountId(number()?),
            epoch: Epoch(number()?),
            seq: Seq(number()?),
            mark,
        };
        rest.is_empty().then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use parley_types::time::Micros;

    /// Whether the last release without marks can read the cursor.
    fn is_readable_by_previous_release(bytes: &[u8]) -> bool {
        bytes.first() == Some(&UNMARKED)
    }

    proptest! {
        #[test]
        fn cursor_round_trips(account in 0..i64::MAX, epoch in 0..i64::from(u32::MAX), seq in 0..i64::MAX, marked in any::<bool>()) {
            let mark = marked.then(|| Mark::random(Micros(seq)));
            let cursor = Cursor { account: AccountId(account), epoch: Epoch(epoch), seq: Seq(seq), mark };
            prop_assert_eq!(Cursor::decode("after", &cursor.encode()).unwrap(), cursor);
            prop_assert_eq!(is_readable_by_previous_release(&cursor.encode()), !marked);
        }

        #[test]
        fn corrupted_cursor_is_rejected(seq in 0..i64::MAX, at in 0_usize..16, by in 1_u8.., marked in any::<bool>()) {
            let mark = marked.then(|| Mark::random(Micros(seq)));
            let cursor = Cursor { account: AccountId(7), epoch: Epoch(0xdead_beef), seq: Seq(seq), mark };
            let mut bytes = cursor.encode().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= by;
            prop_assert!(Cursor::decode("after", &bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Cursor::decode("after", &bytes);
        }
    }

    #[test]
    fn mark_takes_six_bytes() {
        let cursor = Cursor {
            account: AccountId(1),
            epoch: Epoch(0xdead_beef),
            seq: Seq(100_000),
            mark: None,
        };
        assert_eq!(cursor.encode().len(), 14);
        let marked = Cursor {
            mark: Some(Mark::random(Micros(1))),
            ..cursor
        };
        assert_eq!(marked.encode().len(), 20);
    }
}
