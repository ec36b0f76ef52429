//! Notes about contacts.

use parley_types::{
    id::{AccountId, ContactId, NoteId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `contact_notes`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_notes")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: NoteId,
    pub account_id: AccountId,
    pub contact_id: ContactId,
    /// Who wrote it last; none: no user did.
    pub user_id: Option<UserId>,
    pub content: String,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
