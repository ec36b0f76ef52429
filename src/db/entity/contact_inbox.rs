//! Contacts' sessions in inboxes.

use sea_orm::entity::prelude::*;

use crate::{
    db::submitted::Submitted,
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
    /// What the session itself has submitted. Absent: nothing yet, or a session from before this was stored.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub submitted: Option<Submitted>,
    /// Another contact that has an address, a number or an identifier which the session submitted.
    pub possible_duplicate_id: Option<ContactId>,
    pub pubsub_token: String,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
