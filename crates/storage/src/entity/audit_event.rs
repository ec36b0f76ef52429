//! Audit events, which record administrative calls.

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
    /// An id from a database sequence that all accounts share.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The account that the call was about; 0 for calls outside of accounts.
    pub account_id: AccountId,
    pub occurred_at: Micros,
    /// The `ActorType` of the caller as a number; 0 if the call had no token.
    pub actor_type: i16,
    pub actor_id: i64,
    /// The name of the caller at the time of the call.
    pub actor_name: String,
    pub token_id: Option<TokenId>,
    /// The method that was called, as `parley.v1.Service/Method`.
    pub method: String,
    /// The request field that identifies the affected resource.
    pub resource_field: Option<String>,
    pub resource_id: Option<i64>,
    /// The IP address of the caller, without the port.
    pub peer_address: Option<String>,
    /// The result of the call, as a `google.rpc.Code`.
    pub code: i16,
    /// Whether the result is an error. Refused calls are trimmed separately, so that they do not displace other events.
    pub refused: bool,
    #[sea_orm(belongs_to, from = "token_id", to = "id", skip_fk)]
    pub token: BelongsTo<Option<super::token::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
