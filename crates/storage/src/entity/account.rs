//! Accounts, which are the tenants of the installation.

use parley_types::{id::AccountId, time::Micros};
use sea_orm::entity::prelude::*;

use crate::entity::kind::AccountStatus;

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
    pub domain: Option<String>,
    pub support_email: Option<String>,
    /// The features that are enabled for the account, as a map from name to `true`.
    #[sea_orm(column_type = "JsonBinary")]
    pub features: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub limits: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub custom_attributes: Json,
}

impl ActiveModelBehavior for ActiveModel {}
