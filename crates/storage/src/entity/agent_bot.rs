//! Agent bots: programs that reply in inboxes.

use parley_types::{
    id::{AccountId, AgentBotId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `agent_bots`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_bots")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: AgentBotId,
    /// The only account that can use the bot; `None` if all accounts can use it.
    pub account_id: Option<AccountId>,
    pub name: String,
    pub description: String,
    pub outgoing_url: String,
    pub avatar_url: String,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", on_delete = "Cascade")]
    pub account: BelongsTo<Option<super::account::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
