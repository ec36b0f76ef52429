//! Cursors: a position in an account's log as opaque bytes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint};

use crate::{
    error::{Error, Result, Rule},
    id::{AccountId, Epoch, Seq},
};

/// A position: after event `seq` of `account`'s log of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Whose log.
    pub account: AccountId,
    /// Which history of it.
    pub epoch: Epoch,
    /// After which event.
    pub seq: Seq,
}

/// The first byte of the only form so far.
const FORM: u8 = 1;

impl Cursor {
    /// The form, three varints and a CRC-32: about 14 bytes. The checksum tells accidents from cursors, not attackers:
    /// a forged cursor reads nothing that its caller could not read anyway.
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(24);
        self.put(&mut out);
        out.freeze()
    }

    /// Appends the encoded form.
    pub fn put(self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(FORM);
        encode_varint(self.account.0.cast_unsigned(), out);
        encode_varint(self.epoch.0.cast_unsigned(), out);
        encode_varint(self.seq.0.cast_unsigned(), out);
        let sum = crc32fast::hash(&out[start..]);
        out.put_u32(sum);
    }

    /// Reads a cursor that came in `field`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything that [`Cursor::encode`] did not write.
    pub fn decode(field: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).ok_or_else(|| {
            Error::invalid(
                field,
                Rule::Invalid,
                "must be a cursor as a reply, a delivery or a bookmark gave it, unchanged",
            )
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(body).to_be_bytes() != sum {
            return None;
        }
        let mut rest = body.strip_prefix(&[FORM])?;
        let mut number = || decode_varint(&mut rest).ok().and_then(|number| i64::try_from(number).ok());
        let cursor = Self {
            account: AccountId(number()?),
            epoch: Epoch(number()?),
            seq: Seq(number()?),
        };
        rest.is_empty().then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(account in 0..i64::MAX, epoch in 0..i64::from(u32::MAX), seq in 0..i64::MAX) {
            let cursor = Cursor { account: AccountId(account), epoch: Epoch(epoch), seq: Seq(seq) };
            prop_assert_eq!(Cursor::decode("after", &cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn a_changed_byte_is_noticed(seq in 0..i64::MAX, at in 0_usize..10, by in 1_u8..) {
            let cursor = Cursor { account: AccountId(7), epoch: Epoch(0xdead_beef), seq: Seq(seq) };
            let mut bytes = cursor.encode().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= by;
            prop_assert!(Cursor::decode("after", &bytes).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Cursor::decode("after", &bytes);
        }
    }
}
