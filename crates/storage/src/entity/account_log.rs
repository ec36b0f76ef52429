//! The counters of an account's log. Every write locks the row of its account, which puts the writes of an account in order.

use parley_types::{
    id::{AccountId, ConversationId, Epoch, MessageId, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `account_logs`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "account_logs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    pub epoch: Epoch,
    pub head_seq: Seq,
    pub earliest_seq: Seq,
    pub last_conversation_id: ConversationId,
    pub last_message_id: MessageId,
    /// The time of the newest event. The times of an account's events never go backwards.
    pub last_occurred_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
