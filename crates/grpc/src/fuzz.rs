//! The readers of this module, for the fuzz targets. Not part of the API of the crate.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parley_eventlog::cursor::Cursor;
use parley_proto::{self as pb, wire_budget};
use prost::Message as _;

use crate::validation::{fields::Fields, filters, page};

/// The bytes with the checksum that makes them pass for what we wrote: anybody can compute it.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut summed = bytes.to_vec();
    summed.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
    summed
}

/// Reads a page token, as it is and as a forger would complete it.
pub fn page_token(bytes: &[u8]) {
    let same = pb::ListLabelsRequest::default();
    for token in [String::from_utf8_lossy(bytes).into_owned(), URL_SAFE_NO_PAD.encode(summed(bytes))] {
        let _ = page::read(&mut Fields::default(), &same, (0, 25), &token, 0);
    }
}

/// Reads a cursor, as it is and as a forger would complete it.
pub fn cursor(bytes: &[u8]) {
    let _ = Cursor::decode("after", bytes);
    let _ = Cursor::decode("after", &summed(bytes));
}

/// Reads a request with attributes.
pub fn attributes(bytes: &[u8]) {
    if wire_budget::check::<pb::CreateContactRequest>(bytes).is_err() {
        return;
    }
    let Ok(request) = pb::CreateContactRequest::decode(bytes) else {
        return;
    };
    let mut fields = Fields::default();
    let _ = fields.attributes("custom_attributes", request.custom_attributes.as_ref());
    let _ = fields.conversation_attributes("additional_attributes", request.additional_attributes.as_ref());
}

/// Reads a request with a filter from the wire.
pub fn filter(bytes: &[u8]) {
    if wire_budget::check::<pb::FilterContactsRequest>(bytes).is_err() {
        return;
    }
    if let Ok(request) = pb::FilterContactsRequest::decode(bytes) {
        let _ = filters::read(&mut Fields::default(), request.filter);
    }
}
