//! Messages. Their ids are counted separately in each account, in the order of commits. Only the writer inserts rows.

use parley_types::{
    id::{AccountId, ConversationId, InboxId, MessageId, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::{ContentType, MessageStatus, MessageType, SenderType};

/// A row of `messages`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MessageId,
    pub conversation_id: ConversationId,
    /// The position of the message in its conversation: 1, 2, 3 … without gaps.
    pub number: i64,
    pub inbox_id: InboxId,
    pub message_type: MessageType,
    #[sea_orm(column_type = "Text", nullable)]
    pub content: Option<String>,
    pub content_type: ContentType,
    #[sea_orm(column_type = "JsonBinary")]
    pub content_attributes: Json,
    pub status: MessageStatus,
    pub private: bool,
    pub source_id: Option<String>,
    /// The `source_id` if the caller requested that it be unique within the inbox, otherwise `None`.
    pub unique_source_id: Option<String>,
    pub sender_type: Option<SenderType>,
    pub sender_id: Option<i64>,
    #[sea_orm(column_type = "JsonBinary")]
    pub additional_attributes: Json,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub version: Seq,
    #[sea_orm(belongs_to, from = "(account_id, conversation_id)", to = "(account_id, id)", skip_fk)]
    pub conversation: BelongsTo<super::conversation::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, inbox_id)", to = "(account_id, id)", skip_fk)]
    pub inbox: BelongsTo<super::inbox::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
