//! How far each shard of a durable consumer is, and whose it is.

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
    /// The history that `seq` belongs to.
    pub epoch: Epoch,
    /// Everything at or below it is done.
    pub seq: Seq,
    /// The number of the newest session: what an older one says is not taken.
    pub fence: i64,
    /// Until when a session that says nothing is taken for alive.
    pub leased_until: Micros,
    pub committed_at: Micros,
    #[sea_orm(belongs_to, from = "(account_id, name)", to = "(account_id, name)", skip_fk)]
    pub consumer: BelongsTo<super::consumer::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
