//! Pagination: parses the requested page, and limits the size in bytes of the rows in a response.

use parley_domain::page::{Key, Page, PageRequest};
use parley_fault::Protection;
use parley_proto::rpc::{PageResponse, PagedRequest, UnaryRequest};
use parley_types::error::Rule;
use prost::Message;
use tonic::Response;

use super::{
    fields::Validator,
    page_token::{decode, encode, fingerprint},
};

/// Maximum size in bytes of the rows of a page; a larger first row is returned alone. Even with the largest row, or with the conversation
/// that accompanies a list of messages, a response stays below the 4 MiB that gRPC clients accept by default.
pub const PAGE_BYTES: usize = 1792 * 1024;

/// The maximum page size, and the maximum number of rows to skip.
const MAX_SIZE: i32 = 1000;
const MAX_SKIP: i32 = 1_000_000;

/// Validates and parses the page fields of a request. `default` is the page size if the request does not specify one.
pub fn requested<R: PagedRequest>(fields: &mut Validator, request: &R, default: i32) -> PageRequest {
    read(
        fields,
        &request.without_paging(),
        (request.page_size(), default),
        request.page_token(),
        request.skip(),
    )
}

/// Builds the response with as many rows of a page as fit, and the token of the next page.
pub fn response<'a, T, R>(
    request: &R,
    found: &'a Page<T>,
    to_wire: impl FnMut(&'a T) -> <R::Response as PageResponse>::Row,
) -> Response<R::Response>
where
    R: PagedRequest + UnaryRequest<Response: PageResponse>,
{
    let (rows, next_page_token) = fill(&request.without_paging(), found, to_wire);
    Response::new(PageResponse::new(rows, next_page_token))
}

/// Validates and parses the page fields of a request. `without_paging` is the request without these fields.
pub fn read(fields: &mut Validator, without_paging: &impl Message, (size, default): (i32, i32), token: &str, skip: i32) -> PageRequest {
    if !(0..=MAX_SIZE).contains(&size) {
        fields.add_violation(
            "page_size",
            Rule::OutOfRange(MAX_SIZE.into()),
            format!("must be between 1 and {MAX_SIZE}, or 0 for {default}"),
        );
    }
    if !(0..=MAX_SKIP).contains(&skip) {
        fields.add_violation(
            "skip",
            Rule::OutOfRange(MAX_SKIP.into()),
            format!("must be between 0 and {MAX_SKIP}"),
        );
    }
    let after = if token.is_empty() {
        None
    } else {
        decode(token, fingerprint(without_paging))
    };
    if after.is_none() && !token.is_empty() {
        fields.add_violation(
            "page_token",
            Rule::Invalid,
            "must be the unchanged next_page_token of a call whose other fields are the same",
        );
    }
    let size = if size == 0 { default } else { size };
    PageRequest {
        size: u64::try_from(size).unwrap_or(1),
        after,
        skip: u64::try_from(skip).unwrap_or_default(),
    }
}

/// Converts as many rows as fit into a page, but at least one. Also returns whether all rows fit.
pub fn take<T, M: Message>(rows: impl IntoIterator<Item = T>, mut to_wire: impl FnMut(T) -> M) -> (Vec<M>, bool) {
    let (mut rows, mut taken, mut bytes) = (rows.into_iter(), Vec::new(), 0);
    // Converts rows and returns whether all of them were converted, or `None` as soon as the converted rows exceed `until` bytes.
    let mut take = |until| {
        for row in rows.by_ref() {
            let row = to_wire(row);
            let length = row.encoded_len();
            // The row's tag and length are encoded in at most 6 bytes.
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
    let whole = take(parley_compute::HEAVY_ABOVE).or_else(|| parley_compute::heavy(|| take(usize::MAX)));
    (taken, whole.unwrap_or(true))
}

/// Converts as many rows of a page as fit, and returns the token of the next page.
pub fn fill<'a, T, M: Message>(without_paging: &impl Message, found: &'a Page<T>, to_wire: impl FnMut(&'a T) -> M) -> (Vec<M>, String) {
    let (rows, whole) = take(&found.items, to_wire);
    let next = if whole {
        found.next.as_ref()
    } else {
        found.keys.get(rows.len().saturating_sub(1))
    };
    let token = write(without_paging, next);
    (rows, token)
}

/// Encodes the token of the next page, or returns an empty string if there is none.
pub fn write(without_paging: &impl Message, next: Option<&Key>) -> String {
    next.map(|key| encode(key, fingerprint(without_paging))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use parley_domain::page::SortValue;

    use super::*;

    proptest! {
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
    }
}
