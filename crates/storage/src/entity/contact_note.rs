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
    /// The user who last edited the note; `None` if no user edited it.
    pub user_id: Option<UserId>,
    pub content: String,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, from = "contact_id", to = "id", on_delete = "Cascade")]
    pub contact: BelongsTo<super::contact::Entity>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", skip_fk)]
    pub user: BelongsTo<Option<super::user::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
