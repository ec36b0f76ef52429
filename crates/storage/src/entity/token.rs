//! API tokens. Only the SHA-256 of each token's secret is stored.

use parley_types::{
    id::{AccountId, AgentBotId, TokenId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::kind::TokenKind;

/// A row of `tokens`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tokens")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: TokenId,
    pub kind: TokenKind,
    pub name: String,
    /// SHA-256 of the token's secret; unique.
    pub hash: Vec<u8>,
    pub user_id: Option<UserId>,
    pub agent_bot_id: Option<AgentBotId>,
    pub account_id: Option<AccountId>,
    pub read_only: bool,
    /// The ids of the inboxes to which the token is limited, as an array; empty if the token is not limited to inboxes.
    #[sea_orm(column_type = "JsonBinary")]
    pub inbox_ids: Json,
    pub expires_at: Option<Micros>,
    pub revoked_at: Option<Micros>,
    pub created_at: Micros,
    /// A number that is incremented each time the token's pubsub token is rotated.
    pub pubsub_generation: i64,
    #[sea_orm(belongs_to, from = "user_id", to = "id", skip_fk)]
    pub user: BelongsTo<Option<super::user::Entity>>,
    #[sea_orm(belongs_to, from = "agent_bot_id", to = "id", skip_fk)]
    pub agent_bot: BelongsTo<Option<super::agent_bot::Entity>>,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<Option<super::account::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
