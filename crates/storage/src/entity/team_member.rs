//! Who belongs to a team.

use parley_types::{
    id::{AccountId, TeamId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `team_members`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "team_members")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub team_id: TeamId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub created_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
