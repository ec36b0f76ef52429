//! What a visitor says of itself.

use serde_json::{Map, Value as Json};

/// What a contact says of itself; what is none is not said.
#[derive(Clone, Debug, Default)]
pub struct ClientFields {
    /// The address, in lower case.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The number.
    pub phone_number: Option<String>,
    /// The picture.
    pub avatar_url: Option<String>,
    /// Attributes that the account defined.
    pub custom_attributes: Map<String, Json>,
}
