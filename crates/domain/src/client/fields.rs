//! The data that visitors submit about themselves.

use serde_json::{Map, Value as Json};

/// The data that a visitor submits. `None` means that the value was not submitted.
#[derive(Clone, Debug, Default)]
pub struct ClientFields {
    /// The e-mail address, in lower case.
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone_number: Option<String>,
    pub avatar_url: Option<String>,
    /// Attributes that the account has defined.
    pub custom_attributes: Map<String, Json>,
}
