//! What a user is in an account.

use sea_orm::entity::prelude::*;

use crate::{
    db::entity::kind::{Availability, Role},
    id::{AccountId, UserId},
    time::Micros,
};

/// A row of `memberships`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub role: Role,
    pub availability: Availability,
    pub auto_offline: bool,
    pub active_at: Option<Micros>,
    pub inviter_id: Option<UserId>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
