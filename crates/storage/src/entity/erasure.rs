//! Contacts whose personal data is erased from the event log.

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
    /// The contact's events up to this sequence number are tombstones.
    pub seq: Seq,
    pub erased_at: Micros,
    /// The event rows up to this sequence number have been rewritten and contain no personal data of the contact.
    pub rewritten_seq: Seq,
    /// Whether the rewriting of event rows is complete.
    pub rewritten: bool,
    #[sea_orm(belongs_to, relation_enum = "Log", from = "account_id", to = "account_id", skip_fk)]
    pub log: BelongsTo<super::account_log::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
