//! Unused login links. Only the SHA-256 of each secret is stored.

use parley_types::{id::UserId, time::Micros};
use sea_orm::entity::prelude::*;

/// A row of `logins`. Deleting the row redeems the link, so a link works once.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "logins")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    pub user_id: UserId,
    pub expires_at: Micros,
    /// The latest expiry of the token that the link is exchanged for; `None` if the usual expiry of logins applies.
    pub token_expires_at: Option<Micros>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", on_delete = "Cascade")]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
