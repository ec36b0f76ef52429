//! Stored responses to requests with an idempotency key.

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
    /// The account of the request; 0 for requests outside of accounts.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: Uuid,
    /// SHA-256 of the method and the request, to detect a key that is reused for another request.
    pub fingerprint: Vec<u8>,
    /// The encoded response, which is returned again if the request is repeated.
    pub response: Vec<u8>,
    pub created_at: Micros,
    /// A digest of the owner of the key (`parley_domain::write::key_owner`). `None` if an older version without owners stored the row.
    pub owner: Option<Uuid>,
    /// The contact that the response contains. Erasing the contact deletes the row. 0 if the response contains several contacts, or if the
    /// writer could not determine the contact.
    pub contact_id: Option<ContactId>,
}

impl ActiveModelBehavior for ActiveModel {}
