//! Contacts' sessions in inboxes.

use sea_orm::entity::prelude::*;

use crate::{
    id::{AccountId, ContactId, ContactInboxId, InboxId},
    time::Micros,
};

/// A row of `contact_inboxes`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_inboxes")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ContactInboxId,
    pub account_id: AccountId,
    pub contact_id: ContactId,
    pub inbox_id: InboxId,
    /// Unique in the inbox.
    pub source_id: String,
    pub hmac_verified: bool,
    pub pubsub_token: String,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
