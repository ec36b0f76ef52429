//! When somebody was last there. Rows of no event: they are true for a moment, and forgotten.

use parley_types::{id::AccountId, time::Micros};
use sea_orm::entity::prelude::*;

use crate::entity::kind::PresenceKind;

/// A row of `presences`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "presences")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: PresenceKind,
    /// The user or the contact.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub seen_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
