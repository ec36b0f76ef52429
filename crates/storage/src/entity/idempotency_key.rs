//! Answers kept for repeated requests.

use parley_types::{
    id::{AccountId, ContactId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

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
    /// A digest of whose the key is (`parley_domain::write::key_owner`). None: stored by a program that does not know of owners.
    pub owner: Option<Uuid>,
    /// The contact that the reply is about, whose erasure takes the reply along; 0: several, or one that the writer could not tell.
    pub contact_id: Option<ContactId>,
}

impl ActiveModelBehavior for ActiveModel {}
