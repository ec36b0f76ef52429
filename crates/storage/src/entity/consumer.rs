//! Durable consumers of an account's log.

use parley_types::{
    id::{AccountId, Epoch, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `consumers`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consumers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The filter of the consumer, as an encoded `parley.v1.EventFilter`.
    pub filter: Vec<u8>,
    pub shard_count: i64,
    /// The epoch of the position at which a shard starts if it was never opened. `start_seq` is the sequence number of that position.
    pub start_epoch: Epoch,
    pub start_seq: Seq,
    /// The fencing number of the newest session. Its initial value is the time at which the consumer was created, so that it rises even if
    /// the consumer is deleted and created again.
    pub fence: i64,
    pub created_at: Micros,
    #[sea_orm(belongs_to, relation_enum = "Log", from = "account_id", to = "account_id", skip_fk)]
    pub log: BelongsTo<super::account_log::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
