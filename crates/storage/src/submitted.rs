//! The data that a contact session has submitted about its contact, and how the session was connected to that contact.

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// How a session was connected to its contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A member or a service created the session, or the session was created before the `submitted` column existed.
    #[default]
    Assigned,
    /// The session created the contact.
    Created,
    /// The contact existed and had an e-mail address, phone number or identifier that the session submitted without proof.
    Matched,
}

/// The data that a session has submitted about its contact. An unverified session can see no other data of the contact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(default)]
pub struct Submitted {
    /// How the session was connected to its contact.
    pub relation: Relation,
    /// The submitted name, or a generated one if the session submitted none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The contact's id in the integrator's system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Attributes that the account has defined.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_attributes: Map<String, Json>,
}
