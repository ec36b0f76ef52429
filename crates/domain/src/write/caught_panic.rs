//! Handles panics in business rules, so that a panic fails only the call that caused it.

use parley_types::error::Error;

/// Returns the error for a call during which a business rule panicked.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Internal(format!("a write panicked: {}", text.unwrap_or("without a message")))
}
