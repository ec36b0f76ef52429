//! Page tokens: opaque to clients, and good only for the request that they came from. And how many rows an answer has room for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut};
use parley_domain::page::{Key, Page, PageRequest, SortValue};
use parley_fault::Protection;
use parley_types::error::Rule;
use prost::Message;

use super::fields::Fields;

/// Bytes of the rows of a page; a first row that is larger is alone in it. With the largest row, or with the conversation that a list of
/// messages is of, an answer stays below the 4 MiB that gRPC clients accept by default.
pub const PAGE_BYTES: usize = 1792 * 1024;

/// The greatest page and the farthest skip.
const MAX_SIZE: i32 = 1000;
const MAX_SKIP: i32 = 1_000_000;

/// Bytes of a token: a few sort values, generously.
const TOKEN_BYTES: usize = 64 * 1024;

/// Identifies a request by everything but its page.
fn fingerprint(request: &impl Message) -> u32 {
    crc32fast::hash(&request.encode_to_vec())
}

/// Reads which page is asked for. `same` is the request without its page fields.
pub fn read(fields: &mut Fields, same: &impl Message, (size, default): (i32, i32), token: &str, skip: i32) -> PageRequest {
    if !(0..=MAX_SIZE).contains(&size) {
        fields.refuse(
            "page_size",
            Rule::OutOfRange(MAX_SIZE.into()),
            format!("must be between 1 and {MAX_SIZE}, or 0 for {default}"),
        );
    }
    if !(0..=MAX_SKIP).contains(&skip) {
        fields.refuse(
            "skip",
            Rule::OutOfRange(MAX_SKIP.into()),
            format!("must be between 0 and {MAX_SKIP}"),
        );
    }
    let after = if token.is_empty() { None } else { decode(token, fingerprint(same)) };
    if after.is_none() && !token.is_empty() {
        fields.refuse(
            "page_token",
            Rule::Invalid,
            "must be the next_page_token of the same call, unchanged, with everything else unchanged",
        );
    }
    let size = if size == 0 { default } else { size };
    PageRequest {
        size: u64::try_from(size).unwrap_or(1),
        after,
        skip: u64::try_from(skip).unwrap_or_default(),
    }
}

/// Rows on the wire, as many of `rows` as fit into the bytes of a page, one at least; and whether that is all of them.
pub fn take<T, M: Message>(rows: impl IntoIterator<Item = T>, mut to_wire: impl FnMut(T) -> M) -> (Vec<M>, bool) {
    let (mut rows, mut taken, mut bytes) = (rows.into_iter(), Vec::new(), 0);
    // Takes rows until they have more than so many bytes; then none, or else whether those are all.
    let mut take = |until| {
        for row in rows.by_ref() {
            let row = to_wire(row);
            let length = row.encoded_len();
            // The row's tag and length.
            bytes += length + 6;
            if bytes > PAGE_BYTES && !taken.is_empty() && parley_fault::is_on(Protection::PageBytes) {
                return Some(false);
            }
            taken.push(row);
            if bytes > until {
                return None;
            }
        }
        Some(true)
    };
    let whole = take(parley_compute::SMALL).or_else(|| parley_compute::heavy(|| take(usize::MAX)));
    (taken, whole.unwrap_or(true))
}

/// The rows of a page on the wire, as many as fit, and the token of the next page.
pub fn fill<'a, T, M: Message>(same: &impl Message, found: &'a Page<T>, to_wire: impl FnMut(&'a T) -> M) -> (Vec<M>, String) {
    let (rows, whole) = take(&found.items, to_wire);
    let next = if whole {
        found.next.as_ref()
    } else {
        found.keys.get(rows.len().saturating_sub(1))
    };
    let token = write(same, next);
    (rows, token)
}

/// Writes where the next page starts; empty: nowhere.
pub fn write(same: &impl Message, next: Option<&Key>) -> String {
    next.map(|key| encode(key, fingerprint(same))).unwrap_or_default()
}

fn encode(key: &Key, fingerprint: u32) -> String {
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

/// Reads a value. A list within a list was never written, and is not read: a forged token must not decide how deep this recurses.
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

fn decode(token: &str, fingerprint: u32) -> Option<Key> {
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
        fn a_token_brings_back_its_key_for_its_request_only(id: i64, text in ".{0,20}", int: i64, kind in 0..4_u8, print: u32) {
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

        /// Anybody can compute the checksum of a token.
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
        fn pages_are_cut_by_bytes_and_continued(lengths in prop::collection::vec(0..1_000_000_usize, 0..12), more: bool) {
            let keys: Vec<Key> = (1..).take(lengths.len()).map(|id| Key { value: SortValue::Null, id }).collect();
            let found = Page { next: keys.last().filter(|_| more).cloned(), items: lengths.clone(), keys };
            let (rows, token) = fill(&0_i64, &found, |length| "x".repeat(*length));
            prop_assert_eq!(rows.is_empty(), lengths.is_empty(), "a page with rows makes progress");
            prop_assert!(rows.len() < 2 || rows.iter().map(String::len).sum::<usize>() <= PAGE_BYTES);
            let whole = rows.len() == lengths.len();
            let next = decode(&token, fingerprint(&0_i64)).map(|key| key.id);
            let expected = (!whole || (more && !lengths.is_empty())).then(|| i64::try_from(rows.len()).unwrap());
            prop_assert_eq!(next, expected, "nothing is skipped");
            let room_for_next = rows.iter().map(String::len).sum::<usize>() + lengths.get(rows.len()).copied().unwrap_or_default();
            prop_assert!(whole || room_for_next + 100 > PAGE_BYTES, "nothing is cut without need");
        }

        #[test]
        fn no_token_makes_it_panic(token in ".{0,60}", print: u32) {
            let _ = decode(&token, print);
        }
    }
}
