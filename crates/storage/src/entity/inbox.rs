//! Inboxes of an account.

use parley_types::{
    id::{AccountId, AgentBotId, ChannelId, InboxId, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::{ChannelType, SenderNameType};

/// A row of `inboxes`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "inboxes")]
#[allow(clippy::struct_excessive_bools)] // settings of a Chatwoot inbox
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: InboxId,
    pub account_id: AccountId,
    pub name: String,
    pub channel_type: ChannelType,
    pub channel_id: ChannelId,
    pub avatar_url: String,
    pub greeting_enabled: bool,
    pub greeting_message: Option<String>,
    pub working_hours_enabled: bool,
    /// The working hours: seven objects, one per day, starting on Sunday.
    #[sea_orm(column_type = "JsonBinary")]
    pub working_hours: Json,
    pub out_of_office_message: Option<String>,
    pub timezone: String,
    pub enable_email_collect: bool,
    pub csat_survey_enabled: bool,
    #[sea_orm(column_type = "JsonBinary")]
    pub csat_config: Json,
    pub enable_auto_assignment: bool,
    #[sea_orm(column_type = "JsonBinary")]
    pub auto_assignment_config: Json,
    pub allow_messages_after_resolved: bool,
    pub lock_to_single_conversation: bool,
    pub sender_name_type: SenderNameType,
    pub business_name: Option<String>,
    pub portal_id: Option<i64>,
    pub agent_bot_id: Option<AgentBotId>,
    /// Whether the agent bot replies in the inbox; false if the inbox has no bot.
    pub agent_bot_active: bool,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub version: Seq,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, relation_enum = "Channel", from = "channel_id", to = "id", skip_fk)]
    pub channel: BelongsTo<super::api_channel::Entity>,
    #[sea_orm(belongs_to, from = "agent_bot_id", to = "id", skip_fk)]
    pub agent_bot: BelongsTo<Option<super::agent_bot::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
