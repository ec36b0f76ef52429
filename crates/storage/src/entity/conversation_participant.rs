//! Participants of conversations, besides the assignee.

use parley_types::{
    id::{AccountId, ConversationId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

/// A row of `conversation_participants`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "conversation_participants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: ConversationId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub created_at: Micros,
    #[sea_orm(belongs_to, from = "(account_id, conversation_id)", to = "(account_id, id)", skip_fk)]
    pub conversation: BelongsTo<super::conversation::Entity>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", skip_fk)]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
