//! The position and the lease of each shard of a durable consumer.

use parley_types::{
    id::{AccountId, Epoch, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `consumer_shards`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consumer_shards")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard: i64,
    /// The epoch of the log to which `seq` belongs.
    pub epoch: Epoch,
    /// The position of the shard: all its events up to this seq are processed.
    pub seq: Seq,
    /// The fencing number of the newest session. Commits with an older fencing number are rejected.
    pub fence: i64,
    /// When the lease of the current session expires, unless the session renews it.
    pub leased_until: Micros,
    pub committed_at: Micros,
    #[sea_orm(belongs_to, from = "(account_id, name)", to = "(account_id, name)", skip_fk)]
    pub consumer: BelongsTo<super::consumer::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
