//! What a session of a contact has submitted of itself, and how the session came to its contact.

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// How a session came to its contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A member or a service made the session, or it is from before this was stored.
    #[default]
    Assigned,
    /// The session made the contact.
    Created,
    /// The contact existed and had an address, a number or an identifier that the session submitted without proof.
    Matched,
}

/// What a session has submitted of itself. An unverified session is shown nothing else of its contact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(default)]
pub struct Submitted {
    /// How the session came to its contact.
    pub relation: Relation,
    /// The name; made up where the session gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The contact's id in the integrator's system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// The picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Attributes that the account defined.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_attributes: Map<String, Json>,
}
