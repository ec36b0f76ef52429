//! Queued mails, and mails that were sent within the last hour, which count against the rate limit.

use parley_types::{id::AccountId, time::Micros};
use sea_orm::entity::prelude::*;

/// A row of `mails`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mails")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: AccountId,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub created_at: Micros,
    pub next_try_at: Micros,
    pub tries: i64,
    pub sent_at: Option<Micros>,
    #[sea_orm(belongs_to, from = "account_id", to = "id", on_delete = "Cascade")]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
