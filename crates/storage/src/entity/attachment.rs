//! What is attached to messages, and uploads that wait for a message to take them.

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
    /// 0: no message has it.
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
    /// The name of its bytes in the store. None: it has no file there.
    pub object: Option<String>,
    pub file_name: String,
    pub content_type: String,
    /// The size of the small picture, which lies beside the object. None: there is none.
    pub thumb_size: Option<i64>,
    /// Its place among those of its message, from 0.
    pub position: i64,
    /// The contact session that uploaded it. None: a member, a bot or a service did, or a program that did not know this column yet.
    pub contact_inbox_id: Option<i64>,
    #[sea_orm(belongs_to, from = "(account_id, message_id)", to = "(account_id, id)", skip_fk)]
    pub message: BelongsTo<super::message::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, contact_inbox_id)", to = "(account_id, id)", skip_fk)]
    pub contact_inbox: BelongsTo<Option<super::contact_inbox::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
