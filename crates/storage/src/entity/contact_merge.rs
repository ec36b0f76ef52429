//! Merges of contacts: which contact was merged into which other contact.

use parley_types::id::{AccountId, ContactId};
use sea_orm::entity::prelude::*;

/// A row of `contact_merges`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_merges")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    /// The contact that was merged into another contact and then deleted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub contact_id: ContactId,
    /// The contact into which `contact_id` was merged.
    pub into_id: ContactId,
    #[sea_orm(
        belongs_to,
        relation_enum = "Into",
        from = "(account_id, into_id)",
        to = "(account_id, id)",
        skip_fk
    )]
    pub into: BelongsTo<super::contact::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
