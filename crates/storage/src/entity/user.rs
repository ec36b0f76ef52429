//! Users. A user can be a member of several accounts.

use parley_types::{id::UserId, time::Micros};
use sea_orm::entity::prelude::*;

/// A row of `users`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: UserId,
    pub name: String,
    pub display_name: Option<String>,
    /// The e-mail address in lower case; unique in the installation.
    pub email: String,
    pub avatar_url: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub custom_attributes: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub ui_settings: Json,
    pub message_signature: Option<String>,
    pub pubsub_token: String,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Returns the name that contacts see, which Chatwoot calls `available_name`.
    pub fn available_name(&self) -> &str {
        let chosen = self.display_name.as_deref().filter(|name| !name.trim().is_empty());
        chosen.unwrap_or(&self.name)
    }
}
