//! Memberships of users in accounts.

use std::sync::Arc;

use parley_fault::Protection;
use parley_types::{
    id::{AccountId, UserId},
    time::Micros,
};
use sea_orm::entity::prelude::*;

use crate::entity::{
    kind::{Availability, Role},
    user,
};

/// A row of `memberships`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "memberships")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    pub role: Role,
    pub availability: Availability,
    pub auto_offline: bool,
    pub active_at: Option<Micros>,
    pub inviter_id: Option<UserId>,
    pub created_at: Micros,
    pub updated_at: Micros,
    /// The name of the user within the account; `None` if the account uses the name in the user's row.
    pub name: Option<String>,
    /// The e-mail address with which the account added the user; `None` if the operator added the user.
    pub email: Option<String>,
    #[sea_orm(belongs_to, from = "account_id", to = "id", on_delete = "Cascade")]
    pub account: BelongsTo<super::account::Entity>,
    #[sea_orm(belongs_to, relation_enum = "User", from = "user_id", to = "id", on_delete = "Cascade")]
    pub user: BelongsTo<super::user::Entity>,
    #[sea_orm(belongs_to, relation_enum = "Inviter", from = "inviter_id", to = "id", skip_fk)]
    pub inviter: BelongsTo<Option<super::user::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Returns the user as the account is allowed to see it. An account that added a user by e-mail address sees only the data that it
    /// supplied, until the user has been active in the account. This hides whether a user with the address already existed, and the data
    /// that the user or another account stored about the user. After that, the account sees the rest of the user's data, but the name and
    /// the address that it supplied remain.
    pub fn view_of(&self, user: &Arc<user::Model>) -> Arc<user::Model> {
        if (self.name.is_none() && self.email.is_none()) || !parley_fault::is_on(Protection::MemberView) {
            return Arc::clone(user);
        }
        let mut view = user::Model::clone(user);
        if self.is_unconfirmed() {
            view.display_name = None;
            view.avatar_url.clear();
            view.custom_attributes = serde_json::json!({});
            view.created_at = self.created_at;
            view.updated_at = self.updated_at;
        }
        view.name = self.name.clone().unwrap_or(view.name);
        view.email = self.email.clone().unwrap_or(view.email);
        Arc::new(view)
    }

    /// Returns whether the account added the user by e-mail address and the user has not been active in the account yet.
    pub fn is_unconfirmed(&self) -> bool {
        self.email.is_some() && self.active_at.is_none()
    }
}
