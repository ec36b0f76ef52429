//! Answers kept for repeated requests.

use sea_orm::entity::prelude::*;

use crate::{id::AccountId, time::Micros};

/// A row of `idempotency_keys`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    /// 0 for requests outside of any account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: Uuid,
    /// SHA-256 of the call and its request.
    pub fingerprint: Vec<u8>,
    /// The encoded answer.
    pub response: Vec<u8>,
    pub created_at: Micros,
}

impl ActiveModelBehavior for ActiveModel {}
