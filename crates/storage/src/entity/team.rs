//! Teams, which are groups of members who share work.

use parley_types::{
    id::{AccountId, TeamId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `teams`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "teams")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: TeamId,
    pub account_id: AccountId,
    /// The name in lower case; unique in the account.
    pub name: String,
    pub description: Option<String>,
    pub allow_auto_assign: bool,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
