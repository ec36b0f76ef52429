//! Page tokens: opaque to clients, and valid only with the request that returned them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut};
use parley_domain::page::{Key, SortValue};
use prost::Message;

/// Maximum size of a page token in bytes. A token contains only a few sort values.
const TOKEN_BYTES: usize = 64 * 1024;

/// Returns a checksum over all fields of a request except those that select the page.
pub(super) fn fingerprint(request: &impl Message) -> u32 {
    crc32fast::hash(&request.encode_to_vec())
}

pub(super) fn encode(key: &Key, fingerprint: u32) -> String {
    let mut bytes = Vec::with_capacity(32);
    bytes.put_u32(fingerprint);
    bytes.put_i64(key.id);
    put(&mut bytes, &key.value);
    let sum = crc32fast::hash(&bytes);
    bytes.put_u32(sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn put(bytes: &mut Vec<u8>, value: &SortValue) {
    match value {
        SortValue::Null => bytes.put_u8(0),
        SortValue::Int(value) => {
            bytes.put_u8(1);
            bytes.put_i64(*value);
        }
        SortValue::Text(text) => {
            bytes.put_u8(2);
            bytes.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            bytes.put_slice(text.as_bytes());
        }
        SortValue::Many(values) => {
            bytes.put_u8(3);
            bytes.put_u8(u8::try_from(values.len()).unwrap_or(u8::MAX));
            for value in values {
                put(bytes, value);
            }
        }
    }
}

/// Decodes a sort value. Tokens never contain nested lists, so these are rejected: otherwise a forged token could cause unbounded
/// recursion.
fn get(body: &mut &[u8], is_in_list: bool) -> Option<SortValue> {
    Some(match body.try_get_u8().ok()? {
        0 => SortValue::Null,
        1 => SortValue::Int(body.try_get_i64().ok()?),
        2 => {
            let length = usize::try_from(body.try_get_u32().ok()?).ok()?;
            let (text, rest) = body.split_at_checked(length)?;
            *body = rest;
            SortValue::Text(String::from_utf8(text.to_vec()).ok()?)
        }
        3 if !is_in_list => {
            let count = body.try_get_u8().ok()?;
            SortValue::Many((0..count).map(|_| get(body, true)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

pub(super) fn decode(token: &str, fingerprint: u32) -> Option<Key> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (mut body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32fast::hash(body).to_be_bytes() != sum || body.len() < 13 || body.get_u32() != fingerprint {
        return None;
    }
    let id = body.get_i64();
    let value = get(&mut body, false)?;
    if !body.is_empty() {
        return None;
    }
    Some(Key { value, id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn page_token_is_bound_to_its_request(id: i64, text in ".{0,20}", int: i64, kind in 0..4_u8, print: u32) {
            let value = match kind {
                0 => SortValue::Null,
                1 => SortValue::Int(int),
                2 => SortValue::Text(text),
                _ => SortValue::Many(vec![SortValue::Text(text), SortValue::Null, SortValue::Int(int)]),
            };
            let key = Key { value, id };
            let token = encode(&key, print);
            prop_assert_eq!(decode(&token, print), Some(key));
            prop_assert_eq!(decode(&token, print ^ 1), None);
        }

        /// The checksum is not keyed, so a forged token can have a valid one.
        #[test]
        fn forged_tokens_do_not_recurse(lists in 1_usize..100_000, print: u32) {
            let mut bytes = print.to_be_bytes().to_vec();
            bytes.put_i64(1);
            bytes.extend_from_slice(&[3, 1].repeat(lists));
            bytes.put_u8(0);
            let sum = crc32fast::hash(&bytes);
            bytes.put_u32(sum);
            prop_assert_eq!(decode(&URL_SAFE_NO_PAD.encode(bytes), print).is_some(), lists == 1);
        }

        #[test]
        fn decoding_never_panics(token in ".{0,60}", print: u32) {
            let _ = decode(&token, print);
        }
    }
}
