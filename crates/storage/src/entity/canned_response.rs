//! Canned responses: prepared text that agents insert into messages.

use parley_types::{
    id::{AccountId, CannedResponseId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `canned_responses`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "canned_responses")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: CannedResponseId,
    pub account_id: AccountId,
    /// The code that agents type to insert the text; unique in the account.
    pub short_code: String,
    pub content: String,
    pub created_at: Micros,
    pub updated_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
