//! Parses a refusal: the status code and the `google.rpc` error details.

use std::collections::{BTreeMap, BTreeSet};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A parsed refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status code.
    pub code: Code,
    /// `ErrorInfo.reason`.
    pub reason: String,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// The invalid fields, each with its rule: `email: INVALID`.
    pub fields: BTreeSet<String>,
    /// Whether there is a `RetryInfo`.
    pub retry: bool,
    /// `ResourceInfo`, as `type/name`.
    pub resource: Option<String>,
}

/// Parses a status, and checks what holds for every refusal: exactly one `ErrorInfo` of our domain, and a `RetryInfo` with the codes that
/// ask for a retry.
pub fn fault(status: &Status) -> Fault {
    let details = status.get_error_details_vec();
    let infos = details
        .iter()
        .filter(|detail| matches!(detail, tonic_types::ErrorDetail::ErrorInfo(_)))
        .count();
    assert_eq!(infos, 1, "exactly one ErrorInfo belongs to {status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("counted above");
    assert_eq!(info.domain, "parley", "of {status:?}");
    let retry = details.retry_info().is_some();
    if matches!(status.code(), Code::ResourceExhausted | Code::Unavailable) {
        assert!(retry, "RetryInfo belongs to {status:?}");
    }
    let fields = details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations)
        .map(|violation| {
            assert!(
                !violation.description.is_empty(),
                "a violation says what would be right: {violation:?}"
            );
            format!("{}: {}", violation.field, violation.reason)
        });
    Fault {
        code: status.code(),
        reason: info.reason.clone(),
        metadata: info.metadata.clone().into_iter().collect(),
        fields: fields.collect(),
        retry,
        resource: details
            .resource_info()
            .map(|resource| format!("{}/{}", resource.resource_type, resource.resource_name)),
    }
}

/// The refusal of a call that must be refused.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Fault {
    match result {
        Ok(answer) => panic!("this call must be refused, but was answered with {answer:?}"),
        Err(status) => fault(&status),
    }
}

/// Asserts that a call is refused with this code and reason.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Fault {
    let fault = refused(result);
    assert_eq!((fault.code, fault.reason.as_str()), (code, reason), "{fault:?}");
    fault
}

/// Asserts that a call is refused for exactly these invalid fields, written `field: RULE`.
#[track_caller]
pub fn assert_bad_fields<T: std::fmt::Debug>(result: Result<T, Status>, fields: &[&str]) -> Fault {
    let fault = assert_refused(result, Code::InvalidArgument, "INVALID_FIELD");
    let expected: BTreeSet<String> = fields.iter().map(|&field| field.to_owned()).collect();
    assert_eq!(fault.fields, expected, "{fault:?}");
    fault
}
