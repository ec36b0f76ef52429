//! Names and e-mail addresses of former members, as their account last knew them.

use std::sync::Arc;

use parley_types::id::{AccountId, UserId};
use sea_orm::entity::prelude::*;

use crate::entity::user;

/// A row of `former_members`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "former_members")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub name: String,
    pub display_name: Option<String>,
    pub email: String,
    #[sea_orm(belongs_to, from = "account_id", to = "id", skip_fk)]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, from = "user_id", to = "id", on_delete = "Cascade")]
    pub user: BelongsTo<super::user::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Returns the user as the account last knew the user. Later changes by the user are not shown to the account.
    pub fn view_of(&self, user: &user::Model) -> Arc<user::Model> {
        Arc::new(user::Model {
            name: self.name.clone(),
            display_name: self.display_name.clone(),
            email: self.email.clone(),
            avatar_url: String::new(),
            custom_attributes: serde_json::json!({}),
            ..user.clone()
        })
    }
}
