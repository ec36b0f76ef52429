//! Events, in the encoding in which they are sent, with separate columns for filters.

use parley_types::{
    id::{AccountId, ContactId, ConversationId, InboxId, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::MessageType;

/// A row of `events`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: Seq,
    pub transaction_id: Seq,
    /// The kind of the event, as the number of an `EventKind`.
    pub kind: i16,
    pub inbox_id: Option<InboxId>,
    pub conversation_id: Option<ConversationId>,
    pub contact_id: Option<ContactId>,
    pub message_type: Option<MessageType>,
    pub private: Option<bool>,
    pub occurred_at: Micros,
    /// The event, as an encoded `parley.v1.Event`.
    pub payload: Vec<u8>,
    #[sea_orm(belongs_to, relation_enum = "Log", from = "account_id", to = "account_id", skip_fk)]
    pub log: BelongsTo<super::account_log::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
