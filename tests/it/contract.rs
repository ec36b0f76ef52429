//! Conventions that all methods of the contract follow, checked on its descriptors.

use parley_proto as pb;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

/// The prefixes of methods that change nothing.
const READS: [&str; 9] = [
    "Get",
    "List",
    "Search",
    "Filter",
    "Count",
    "Subscribe",
    "Consume",
    "Download",
    "Read",
];

/// Methods that change something and deviate from the conventions, each with the reason.
const OTHERWISE: &[(&str, &str)] = &[
    ("SendMessages", "a stream: each of its results has a cursor"),
    (
        "UploadFile",
        "tells nobody anything: an upload that is made twice is taken once, and the other is removed",
    ),
    ("UploadClientFile", "as UploadFile"),
];

fn calls() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the program carries its own description");
    let services = pool.services().filter(|service| service.package_name() == "parley.v1");
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn reads(call: &MethodDescriptor) -> bool {
    READS.iter().any(|first| {
        call.name()
            .strip_prefix(first)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_uppercase))
    })
}

fn kind(message: &MessageDescriptor, field: &str) -> Option<(u32, Kind)> {
    message.get_field_by_name(field).map(|field| (field.number(), field.kind()))
}

#[test]
fn every_write_has_a_request_id_and_returns_a_cursor() {
    let (calls, mut missing) = (calls(), Vec::new());
    assert!(calls.len() > 40, "only {} calls were found", calls.len());
    for call in calls.iter().filter(|call| !reads(call)) {
        let name = call.full_name();
        if OTHERWISE.iter().any(|(known, _)| *known == call.name()) {
            continue;
        }
        if !matches!(kind(&call.input(), "request_id"), Some((_, Kind::String))) {
            missing.push(format!("{name} changes something, but its request has no request_id"));
        }
        if !matches!(kind(&call.output(), "cursor"), Some((_, Kind::Bytes))) {
            missing.push(format!("{name} changes something, but its answer has no cursor"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn account_id_is_the_first_field_of_requests() {
    let mut odd = Vec::new();
    for call in calls() {
        if let Some((number, _)) = kind(&call.input(), "account_id")
            && number != 1
        {
            odd.push(format!("{}: account_id is field {number}", call.full_name()));
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
}

#[test]
fn lists_are_paged() {
    let mut endless = Vec::new();
    for call in calls() {
        let list = call
            .output()
            .fields()
            .any(|field| field.is_list() && matches!(field.kind(), Kind::Message(_)));
        if list && call.name().starts_with("List") {
            let paged = kind(&call.input(), "page_size").is_some()
                && kind(&call.input(), "page_token").is_some()
                && kind(&call.output(), "next_page_token").is_some();
            if !paged {
                endless.push(call.full_name().to_owned());
            }
        }
    }
    assert!(endless.is_empty(), "lists without pages: {endless:#?}");
}
