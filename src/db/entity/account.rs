//! Accounts, the tenants.

use sea_orm::entity::prelude::*;

use crate::{db::entity::kind::AccountStatus, id::AccountId, time::Micros};

/// A row of `accounts`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: AccountId,
    pub name: String,
    pub locale: String,
    pub status: AccountStatus,
    pub created_at: Micros,
    pub updated_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
