//! Attachments of messages, and uploads that are not attached to a message yet.

use parley_types::{
    id::{AccountId, MessageId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::{AttachmentState, AttachmentType};

/// A row of `attachments`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attachments")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: AccountId,
    /// The id of the message, or 0 while the file is not attached to a message.
    pub message_id: MessageId,
    pub file_type: AttachmentType,
    pub extension: Option<String>,
    pub data_url: String,
    pub thumb_url: String,
    pub file_size: Option<i64>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub fallback_title: Option<String>,
    #[sea_orm(column_type = "JsonBinary")]
    pub meta: Json,
    pub created_at: Micros,
    pub state: AttachmentState,
    /// The name of the file's object in the blob store; `None` if the attachment has no file there.
    pub object: Option<String>,
    pub file_name: String,
    pub content_type: String,
    /// The size in bytes of the thumbnail, which is stored next to the object; `None` if there is no thumbnail.
    pub thumb_size: Option<i64>,
    /// The position of the attachment within its message, counted from 0.
    pub position: i64,
    /// The contact session that uploaded the file. `None` if a member, a bot or a service uploaded it, or if the row was written by an
    /// older version without this column.
    pub contact_inbox_id: Option<i64>,
    #[sea_orm(belongs_to, from = "(account_id, message_id)", to = "(account_id, id)", skip_fk)]
    pub message: BelongsTo<super::message::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, contact_inbox_id)", to = "(account_id, id)", skip_fk)]
    pub contact_inbox: BelongsTo<Option<super::contact_inbox::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
