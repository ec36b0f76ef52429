//! The last event that retention removed from each account's log.

use parley_types::id::{AccountId, Seq};
use sea_orm::entity::prelude::*;

/// A row of `trimmed_events`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "trimmed_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    pub seq: Seq,
    /// The mark of the removed event, encoded by `parley_eventlog::mark`.
    pub mark: i64,
    #[sea_orm(belongs_to, relation_enum = "Log", from = "account_id", to = "account_id", skip_fk)]
    pub log: BelongsTo<super::account_log::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
