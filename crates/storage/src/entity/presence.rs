//! When users and contacts were last seen. Changes to these rows append no events to the log, because the events would be outdated within
//! seconds.

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
    /// The id of the user or contact, depending on `kind`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub seen_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
