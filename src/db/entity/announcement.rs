//! Accounts that are still to be told of a change of a member's user.

use sea_orm::entity::prelude::*;

use crate::{
    id::{AccountId, UserId},
    time::Micros,
};

/// A row of `announcements`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "announcements")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub changed_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
