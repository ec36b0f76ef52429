//! Round-robin assignment: when each member of an inbox was last assigned a conversation.

use parley_types::id::{AccountId, InboxId, Seq, UserId};
use sea_orm::entity::prelude::*;

/// A row of `assignment_turns`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "assignment_turns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub inbox_id: InboxId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// The seq of the event that last assigned a conversation to the member.
    pub turn: Seq,
    #[sea_orm(belongs_to, from = "(account_id, inbox_id)", to = "(account_id, id)", skip_fk)]
    pub inbox: BelongsTo<super::inbox::Entity>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", skip_fk)]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
