//! API channels, each of which belongs to an inbox.

use parley_types::{
    id::{AccountId, ChannelId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `api_channels`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_channels")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ChannelId,
    pub account_id: AccountId,
    /// The public identifier, unique in the installation.
    pub identifier: String,
    pub hmac_token: String,
    pub hmac_mandatory: bool,
    /// Whether an unverified session is attached to the contact that has the e-mail address, phone number or identifier that the session
    /// submitted.
    pub attach_unverified_sessions: bool,
    pub webhook_url: Option<String>,
    #[sea_orm(column_type = "JsonBinary")]
    pub additional_attributes: Json,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
