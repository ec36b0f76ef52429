//! The last event of each log that retention removed.

use sea_orm::entity::prelude::*;

use crate::id::{AccountId, Seq};

/// A row of `trimmed_events`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "trimmed_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    pub seq: Seq,
    /// What it is recognised by, as `events::mark` stores it.
    pub mark: i64,
}

impl ActiveModelBehavior for ActiveModel {}
