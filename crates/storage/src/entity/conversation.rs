//! Conversations. The ids of conversations are counted separately in each account.

use parley_types::{
    id::{AccountId, ContactId, ContactInboxId, ConversationId, InboxId, MessageId, Seq, TeamId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::{ConversationStatus, Priority};

/// A row of `conversations`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConversationId,
    pub uuid: Uuid,
    pub inbox_id: InboxId,
    pub contact_id: ContactId,
    pub contact_inbox_id: ContactInboxId,
    pub status: ConversationStatus,
    pub priority: Option<Priority>,
    pub assignee_id: Option<UserId>,
    pub team_id: Option<TeamId>,
    pub snoozed_until: Option<Micros>,
    #[sea_orm(column_type = "JsonBinary")]
    pub additional_attributes: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub custom_attributes: Json,
    pub agent_last_seen_at: Option<Micros>,
    pub assignee_last_seen_at: Option<Micros>,
    pub contact_last_seen_at: Option<Micros>,
    pub first_reply_created_at: Option<Micros>,
    pub waiting_since: Option<Micros>,
    pub last_activity_at: Micros,
    pub last_incoming_at: Option<Micros>,
    /// The number of incoming messages since `agent_last_seen_at`, which is when an agent last saw the conversation.
    pub unread_count: i64,
    /// The `number` of the newest message in the conversation.
    pub message_count: i64,
    pub last_message_id: Option<MessageId>,
    pub last_non_activity_message_id: Option<MessageId>,
    pub last_public_message_id: Option<MessageId>,
    /// The time of the newest outgoing message that is not private.
    pub last_reply_at: Option<Micros>,
    /// The time of the newest automatic message.
    pub last_template_at: Option<Micros>,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub version: Seq,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, inbox_id)", to = "(account_id, id)", skip_fk)]
    pub inbox: BelongsTo<super::inbox::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, contact_id)", to = "(account_id, id)", skip_fk)]
    pub contact: BelongsTo<super::contact::Entity>,
    #[sea_orm(belongs_to, from = "(account_id, contact_inbox_id)", to = "(account_id, id)", skip_fk)]
    pub contact_inbox: BelongsTo<super::contact_inbox::Entity>,
    #[sea_orm(belongs_to, relation_enum = "Assignee", from = "assignee_id", to = "id", skip_fk)]
    pub assignee: BelongsTo<Option<super::user::Entity>>,
    #[sea_orm(belongs_to, from = "(account_id, team_id)", to = "(account_id, id)", skip_fk)]
    pub team: BelongsTo<Option<super::team::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
