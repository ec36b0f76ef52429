//! Users, who exist outside of accounts. When a user changes, an event is appended to the log of each account in which the user is a
//! member.

use std::{collections::HashMap, sync::Arc};

use parley_fault::Protection;
use parley_storage::entity::{account, membership, user};
use parley_types::{
    attribute_limits::check_change,
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, UserId, secret},
    time::Micros,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, NotSet, QueryFilter, Set, SqlErr,
    sea_query::Expr,
};
use serde_json::{Value as Json, json};

use crate::{
    attributes::AttributesPatch,
    auth::{caller::Caller, pubsub::Pubsub},
    context::Context,
    people::outbox::{self, Outbox, OutboxSubject},
    write::{
        call::{Answer, Call},
        once,
    },
};

/// A user to create.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The full name.
    pub name: String,
    /// The e-mail address, in lower case.
    pub email: String,
    /// The name shown to contacts.
    pub display_name: Option<String>,
    /// Custom attributes; a JSON object.
    pub custom_attributes: Json,
}

/// Changes to a user; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// The full name.
    pub name: Option<String>,
    /// The name shown to contacts.
    pub display_name: Option<Option<String>>,
    /// The e-mail address, in lower case.
    pub email: Option<String>,
    pub avatar_url: Option<String>,
    pub custom_attributes: AttributesPatch,
    /// Settings for front ends, as a JSON object.
    pub ui_settings: Option<Json>,
    /// The signature that front ends append to e-mails.
    pub message_signature: Option<Option<String>>,
}

impl UserPatch {
    /// Applies the patch to a user, and returns the changed row.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if an attribute map exceeds [`parley_types::attribute_limits`].
    fn apply(self, row: user::Model) -> Result<user::Model> {
        let mut custom_attributes = row.custom_attributes.clone();
        self.custom_attributes.apply(&mut custom_attributes);
        check_change("user.custom_attributes", &row.custom_attributes, &custom_attributes)?;
        if let Some(settings) = &self.ui_settings {
            check_change("user.ui_settings", &row.ui_settings, settings)?;
        }
        Ok(user::Model {
            name: self.name.unwrap_or(row.name),
            display_name: self.display_name.unwrap_or(row.display_name),
            email: self.email.unwrap_or(row.email),
            avatar_url: self.avatar_url.unwrap_or(row.avatar_url),
            custom_attributes,
            ui_settings: self.ui_settings.unwrap_or(row.ui_settings),
            message_signature: self.message_signature.unwrap_or(row.message_signature),
            ..row
        })
    }
}

/// A user with its memberships.
#[derive(Clone, Debug)]
pub struct Profile {
    pub user: user::Model,
    /// The memberships with their accounts, in Chatwoot's order: memberships that were never active come first, followed by the others,
    /// most recently active first.
    pub memberships: Vec<(membership::Model, account::Model)>,
    /// The pubsub token that belongs to the caller's token. Only [`Users::profile`] sets it.
    pub pubsub_token: String,
}

/// Returns the id for a new user, except for the first user of the installation. The id is random, because sequential ids would reveal to
/// an account whether a user that it adds by e-mail address existed before.
pub fn new_id() -> ActiveValue<UserId> {
    if parley_fault::is_on(Protection::UserIds) {
        Set(UserId::random())
    } else {
        NotSet
    }
}

/// Inserts a user. For the first user of the installation, `id` is not set, so that the user gets the first id of the sequence.
///
/// # Errors
/// Returns [`Error::Taken`] if another user has the e-mail address.
pub async fn insert_user(db: &impl ConnectionTrait, id: ActiveValue<UserId>, new: NewUser) -> Result<user::Model> {
    let now = Micros::now();
    let row = user::ActiveModel {
        id,
        name: Set(new.name),
        display_name: Set(new.display_name),
        email: Set(new.email),
        avatar_url: Set(String::new()),
        custom_attributes: Set(new.custom_attributes),
        ui_settings: Set(json!({})),
        message_signature: Set(None),
        pubsub_token: Set(secret()),
        created_at: Set(now),
        updated_at: Set(now),
    };
    row.insert(db).await.map_err(email_taken)
}

fn email_taken(error: sea_orm::DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::Taken {
            violations: vec![FieldViolation::new("email", Rule::Taken, "is the address of another user")],
            kind: "user",
            existing_id: None,
        },
        _ => error.into(),
    }
}

/// Makes a user's memberships adopt the user's new name or address. Only memberships in which the user has been active adopt it: an account
/// that merely added an e-mail address must not learn to whom the address belongs.
async fn follow_user(db: &impl ConnectionTrait, before: &user::Model, after: &user::Model) -> Result<()> {
    use membership::Column;
    let none = || Expr::value(Option::<String>::None);
    let mut update = membership::Entity::update_many()
        .filter(Column::UserId.eq(after.id))
        .filter(Column::ActiveAt.is_not_null());
    if before.name != after.name {
        update = update.col_expr(Column::Name, none());
    }
    if before.email != after.email {
        update = update.col_expr(Column::Email, none());
    }
    if before.name != after.name || before.email != after.email {
        update.exec(db).await?;
    }
    Ok(())
}

/// Restricts a user and its memberships to what a token is allowed to see. A token that is limited to an account sees only that membership,
/// and the user as that account sees it, because an administrator of the account could have created the token.
fn within(
    caller: &Caller,
    user: user::Model,
    mut memberships: Vec<(membership::Model, account::Model)>,
) -> (user::Model, Vec<(membership::Model, account::Model)>) {
    let Some(only) = caller.limits.account.filter(|_| parley_fault::is_on(Protection::TokenLimits)) else {
        return (user, memberships);
    };
    memberships.retain(|(row, _)| row.account_id == only);
    let user = Arc::new(user);
    let view = memberships.first().map_or_else(|| Arc::clone(&user), |(row, _)| row.view_of(&user));
    let view = user::Model {
        ui_settings: json!({}),
        message_signature: None,
        ..user::Model::clone(&view)
    };
    (view, memberships)
}

/// Operations on users and their profiles.
#[derive(Clone, Debug)]
pub struct Users {
    pub(super) context: Arc<Context>,
    pubsub: Pubsub,
}

impl Users {
    pub(crate) fn new(context: &Arc<Context>, pubsub: Pubsub) -> Self {
        Self {
            context: Arc::clone(context),
            pubsub,
        }
    }

    /// Returns the caller's own user and memberships.
    ///
    /// # Errors
    /// Returns [`Error::WrongToken`] for a platform token, and [`Error::Denied`] if the caller is not a user.
    pub async fn profile(&self, caller: &Caller) -> Result<Profile> {
        if caller.is_platform() {
            return Err(Error::WrongToken("a platform token does not belong to a user and has no profile"));
        }
        let id = caller.user_id().ok_or(Error::Denied("only a user has a profile"))?;
        let user = user::Entity::find_by_id(id)
            .one(self.context.db.read())
            .await?
            .ok_or(Error::TokenInvalid)?;
        let memberships = self.memberships(id).await?;
        let (user, memberships) = within(caller, user, memberships);
        let pubsub_token = self.pubsub.token(caller).await?;
        Ok(Profile {
            user,
            memberships,
            pubsub_token,
        })
    }

    /// Returns the memberships of a user with their accounts. Memberships that were never active come first, followed by the others, most
    /// recently active first.
    async fn memberships(&self, id: UserId) -> Result<Vec<(membership::Model, account::Model)>> {
        let db = self.context.db.read();
        let mut rows = membership::Entity::find().filter(membership::Column::UserId.eq(id)).all(db).await?;
        // Chatwoot's order: a membership that was never active sorts before all others.
        rows.sort_by_key(|row| (row.active_at.map(|at| std::cmp::Reverse(at.0)), row.account_id));
        let ids = rows.iter().map(|row| row.account_id.0);
        let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(db).await?;
        let accounts: HashMap<AccountId, account::Model> = accounts.into_iter().map(|row| (row.id, row)).collect();
        let with = |row: membership::Model| Some((accounts.get(&row.account_id)?.clone(), row));
        Ok(rows.into_iter().filter_map(with).map(|(account, row)| (row, account)).collect())
    }

    /// Creates a user without memberships.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is the operator, and [`Error::Taken`] if another user has the e-mail address.
    pub async fn create(&self, call: Call<user::Model>, new: NewUser) -> Result<Answer<user::Model>> {
        call.caller.platform()?;
        let db = self.context.db.clone();
        let email = new.email.clone();
        let made = once(&self.context.db, call, move |txn| {
            Box::pin(async move { Ok((insert_user(txn, new_id(), new).await?, None)) })
        })
        .await;
        match made {
            Err(Error::Taken {
                violations,
                kind,
                existing_id: None,
            }) => {
                let existing = user::Entity::find().filter(user::Column::Email.eq(email)).one(db.read()).await?;
                Err(Error::Taken {
                    violations,
                    kind,
                    existing_id: existing.map(|row| row.id.0),
                })
            }
            made => made,
        }
    }

    /// Returns one user with its memberships.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such user or the caller is not allowed to see it.
    pub async fn get(&self, caller: &Caller, id: UserId) -> Result<Profile> {
        if caller.user_id() != Some(id) && !caller.is_platform() {
            return Err(Error::not_found("user", id));
        }
        let user = user::Entity::find_by_id(id)
            .one(self.context.db.read())
            .await?
            .ok_or_else(|| Error::not_found("user", id))?;
        let memberships = self.memberships(id).await?;
        let (user, memberships) = within(caller, user, memberships);
        Ok(Profile {
            user,
            memberships,
            pubsub_token: String::new(),
        })
    }

    /// Changes a user. Accounts in which the user has been active adopt a new name or address. A token that is limited to one account
    /// cannot change users, because users exist outside of accounts.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] if the token is read-only or limited to an account, or if a caller other than the operator sends a new
    /// e-mail address. Otherwise, users could probe which addresses belong to users, or claim an address that is not theirs. Returns
    /// [`Error::NotFound`] if there is no such user or the caller is not allowed to change it, and [`Error::Taken`] if another user has the
    /// address.
    pub async fn update(&self, call: Call<user::Model>, id: UserId, patch: UserPatch) -> Result<Answer<user::Model>> {
        call.caller.may_write()?;
        if call.caller.user_id() != Some(id) {
            call.caller.platform().map_err(|_| Error::not_found("user", id))?;
        }
        if patch.email.is_some() {
            call.caller.platform()?;
        }
        if call.caller.limits.account.is_some() && parley_fault::is_on(Protection::TokenLimits) {
            return Err(Error::Denied(
                "a token that is limited to an account may not change users, because they may be members of other accounts",
            ));
        }
        let (caller, traceparent) = (Arc::clone(&call.caller), call.traceparent.clone());
        let answer = once(&self.context.db, call, move |txn| {
            Box::pin(async move {
                let row = user::Entity::find_by_id(id)
                    .one(txn)
                    .await?
                    .ok_or_else(|| Error::not_found("user", id))?;
                let before = row.clone();
                let row = patch.apply(row)?;
                if row == before {
                    return Ok((row, None));
                }
                let at = Micros::now();
                let row = user::Model { updated_at: at, ..row };
                let row = row.into_active_model().reset_all().update(txn).await.map_err(email_taken)?;
                follow_user(txn, &before, &row).await?;
                outbox::record(txn, OutboxSubject::User(id), at).await?;
                Ok((row, None))
            })
        })
        .await;
        self.context.tokens.forget();
        if answer.is_ok() {
            Outbox::new(&self.context)
                .deliver(&caller, &traceparent, OutboxSubject::User(id))
                .await;
        }
        answer
    }

    /// Returns the accounts that a user is a member of.
    pub(crate) async fn accounts_of(&self, id: UserId) -> Result<Vec<AccountId>> {
        let rows = membership::Entity::find()
            .filter(membership::Column::UserId.eq(id))
            .all(self.context.db.read())
            .await?;
        Ok(rows.into_iter().map(|row| row.account_id).collect())
    }
}
