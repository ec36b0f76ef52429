//! Contacts whose personal data was erased from the log.

use parley_types::{
    id::{AccountId, ContactId, Seq},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `erasures`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "erasures")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub contact_id: ContactId,
    /// The contact's events at or below it are tombstones.
    pub seq: Seq,
    pub erased_at: Micros,
    /// The rows at or below it hold no personal data any more.
    pub rewritten_seq: Seq,
    /// Whether all do.
    pub rewritten: bool,
    #[sea_orm(belongs_to, relation_enum = "Log", from = "account_id", to = "account_id", skip_fk)]
    pub log: BelongsTo<super::account_log::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
