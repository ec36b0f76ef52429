//! Entry points for the fuzz targets: the parsers of untrusted input in this crate. Not part of the crate's API.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parley_eventlog::cursor::Cursor;
use parley_proto::{self as pb, wire_budget};
use prost::Message as _;

use crate::validation::{fields::Validator, filters, page};

/// Appends a valid checksum to the bytes. The checksum has no secret key, so an attacker can compute it as well.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut with_checksum = bytes.to_vec();
    with_checksum.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
    with_checksum
}

/// Parses the bytes as a page token, both unchanged and with a valid checksum appended.
pub fn page_token(bytes: &[u8]) {
    let without_paging = pb::ListLabelsRequest::default();
    for token in [
        String::from_utf8_lossy(bytes).into_owned(),
        URL_SAFE_NO_PAD.encode(with_checksum(bytes)),
    ] {
        let _ = page::read(&mut Validator::default(), &without_paging, (0, 25), &token, 0);
    }
}

/// Parses the bytes as a cursor, both unchanged and with a valid checksum appended.
pub fn cursor(bytes: &[u8]) {
    let _ = Cursor::decode("after", bytes);
    let _ = Cursor::decode("after", &with_checksum(bytes));
}

/// Decodes a request that contains attribute maps, and validates the attributes.
pub fn attributes(bytes: &[u8]) {
    if wire_budget::check::<pb::CreateContactRequest>(bytes).is_err() {
        return;
    }
    let Ok(request) = pb::CreateContactRequest::decode(bytes) else {
        return;
    };
    let mut fields = Validator::default();
    let _ = fields.attributes("custom_attributes", request.custom_attributes.as_ref());
    let _ = fields.conversation_attributes("additional_attributes", request.additional_attributes.as_ref());
}

/// Decodes a request that contains a filter, and validates the filter.
pub fn filter(bytes: &[u8]) {
    if wire_budget::check::<pb::FilterContactsRequest>(bytes).is_err() {
        return;
    }
    if let Ok(request) = pb::FilterContactsRequest::decode(bytes) {
        let _ = filters::read(&mut Validator::default(), request.filter);
    }
}
