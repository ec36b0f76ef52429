//! The labels that are set on conversations and contacts.

use parley_types::id::AccountId;
use sea_orm::entity::prelude::*;

use crate::entity::kind::LabelTarget;

/// A row of `labelings`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "labelings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_kind: LabelTarget,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The position of the label in the list of labels that the caller sent.
    pub position: i32,
}

impl ActiveModelBehavior for ActiveModel {}
