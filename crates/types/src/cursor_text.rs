//! Cursors as text: encoded as base64url without padding, and decoded from every encoding that Parley or a client library produces.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

/// Maximum length in bytes of a cursor as text: several times the length of the longest cursor that Parley issues.
const LONGEST: usize = 256;

/// Encodes a cursor as text.
pub fn encode(cursor: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(cursor)
}

/// Decodes a cursor in hexadecimal, base64 or base64url, with or without padding. Returns `None` for any other input. Does not check
/// whether the bytes are a valid cursor; the code that uses them does.
pub fn decode(text: &str) -> Option<Bytes> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    // The first byte of a cursor is its format, a small number. The cursor's hexadecimal form therefore begins with 0, and its base64 form
    // with a letter from A to D.
    if text.starts_with('0') {
        return hex::decode(text).ok().map(Bytes::from);
    }
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty()).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_encoding_is_decoded(form in 1_u8..16, rest in proptest::collection::vec(any::<u8>(), 1..40)) {
            let cursor = [vec![form], rest].concat();
            let standard = STANDARD.encode(&cursor);
            for text in [
                encode(&cursor),
                URL_SAFE.encode(&cursor),
                standard.trim_end_matches('=').to_owned(),
                standard,
                hex::encode(&cursor),
                hex::encode_upper(&cursor),
            ] {
                let read = decode(&text);
                prop_assert_eq!(read.as_deref(), Some(cursor.as_slice()), "{}", text);
            }
        }
    }

    #[test]
    fn other_input_is_rejected() {
        for text in ["", " ", "yesterday!", "0a0", "0g", "====", &"A".repeat(300)] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
