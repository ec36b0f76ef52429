//! Memberships of users in inboxes.

use parley_types::{
    id::{AccountId, InboxId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `inbox_members`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_members")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub inbox_id: InboxId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub created_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, from = "inbox_id", to = "id", on_delete = "Cascade")]
    pub inbox: BelongsTo<super::inbox::Entity>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", on_delete = "Cascade")]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
