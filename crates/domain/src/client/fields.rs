//! The type for the data that visitors submit about themselves.

use serde_json::{Map, Value as Json};

/// The data that a visitor submits about themselves. `None` means that the value was not submitted.
#[derive(Clone, Debug, Default)]
pub struct ClientFields {
    /// The e-mail address, in lower case.
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone_number: Option<String>,
    pub avatar_url: Option<String>,
    /// Custom attributes, which accounts define.
    pub custom_attributes: Map<String, Json>,
}
