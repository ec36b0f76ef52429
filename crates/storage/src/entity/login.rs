//! Login links that were not used yet. Only the SHA-256 of each link's secret is stored.

use parley_types::{id::UserId, time::Micros};
use sea_orm::entity::prelude::*;

/// A row of `logins`. Using a link deletes its row, so each link works only once.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "logins")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    pub user_id: UserId,
    pub expires_at: Micros,
    /// The latest permitted expiry of the token for which the link is exchanged; `None` if only the usual expiry of logins applies.
    pub token_expires_at: Option<Micros>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", on_delete = "Cascade")]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
