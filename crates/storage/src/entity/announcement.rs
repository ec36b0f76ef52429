//! The outbox of changes to users and to shared agent bots. Each row names an account in which a change is still to be published as an
//! event.

use parley_types::{id::AccountId, time::Micros};
use sea_orm::entity::prelude::*;

use crate::entity::kind::AnnouncedKind;

/// A row of `announcements`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "announcements")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_kind: AnnouncedKind,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: i64,
    pub changed_at: Micros,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
