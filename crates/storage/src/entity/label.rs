//! The labels that are defined in an account.

use parley_types::{
    id::{AccountId, LabelId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `labels`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "labels")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: LabelId,
    pub account_id: AccountId,
    /// The title in lower case; unique in the account.
    pub title: String,
    pub description: Option<String>,
    pub color: String,
    pub show_on_sidebar: Option<bool>,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
