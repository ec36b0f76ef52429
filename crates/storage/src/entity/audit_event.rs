//! Audit events.

use parley_types::{
    id::{AccountId, TokenId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `audit_events`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    /// Assigned from a sequence of the database, across all accounts.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// 0 for calls outside of accounts.
    pub account_id: AccountId,
    pub occurred_at: Micros,
    /// An `ActorType` as a number; 0 if the call had no token.
    pub actor_type: i16,
    pub actor_id: i64,
    /// The name at the time of the call.
    pub actor_name: String,
    pub token_id: Option<TokenId>,
    /// The method, as `parley.v1.Service/Method`.
    pub method: String,
    /// The field of the request that identifies the resource.
    pub resource_field: Option<String>,
    pub resource_id: Option<i64>,
    /// The address of the caller, without the port.
    pub peer_address: Option<String>,
    /// The `google.rpc.Code` of the result.
    pub code: i16,
    /// Whether the code is an error. Refused calls are trimmed separately, so they do not displace other events.
    pub refused: bool,
    #[sea_orm(belongs_to, from = "token_id", to = "id", skip_fk)]
    pub token: BelongsTo<Option<super::token::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
