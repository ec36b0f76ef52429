//! Accounts and users.

use std::{collections::HashMap, sync::Arc};

use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, NotSet, QueryFilter, Set, SqlErr};
use serde_json::{Value as Json, json};

use crate::{
    chat::{
        Chat,
        attributes::{AttributesPatch, attribute_changes},
        call::{Answer, Call},
        caller::Caller,
        page::{self, Page, PageRequest, Sort},
        writer::{Ledger, once},
    },
    db::entity::{account, account_log, kind::AccountStatus, membership, user},
    db::load,
    error::{Error, Result, Rule, Violation},
    events::kind::EventKind,
    events::{
        draft::{Change, Draft, Subject},
        log::{append, first_counters},
    },
    id::{AccountId, UserId, secret},
    time::Micros,
};

/// A user to make.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The full name.
    pub name: String,
    /// The address, in lower case.
    pub email: String,
    /// The name shown to contacts.
    pub display_name: Option<String>,
}

/// What to change in an account; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct AccountPatch {
    /// The name.
    pub name: Option<String>,
    /// The language.
    pub locale: Option<String>,
    /// Whether it may be used; the operator's alone, as what follows the addresses.
    pub status: Option<AccountStatus>,
    /// The domain of its mails.
    pub domain: Option<Option<String>>,
    /// Where its people ask for help.
    pub support_email: Option<Option<String>>,
    /// The features that are on.
    pub features: AttributesPatch,
    /// What the operator notes as limits.
    pub limits: AttributesPatch,
    /// What else the operator notes.
    pub custom_attributes: AttributesPatch,
}

impl AccountPatch {
    fn is_the_operators(&self) -> bool {
        let objects = [&self.features, &self.limits, &self.custom_attributes];
        self.status.is_some() || objects.iter().any(|patch| patch.replace.is_some() || !patch.keys.is_empty())
    }

    fn apply(self, row: &mut account::Model) -> Vec<Change> {
        let before = row.clone();
        row.name = self.name.unwrap_or_else(|| row.name.clone());
        row.locale = self.locale.unwrap_or_else(|| row.locale.clone());
        row.status = self.status.unwrap_or(row.status);
        row.domain = self.domain.unwrap_or_else(|| row.domain.clone());
        row.support_email = self.support_email.unwrap_or_else(|| row.support_email.clone());
        self.features.apply(&mut row.features);
        if let Json::Object(features) = &mut row.features {
            features.retain(|_, on| *on == Json::Bool(true));
        }
        self.limits.apply(&mut row.limits);
        self.custom_attributes.apply(&mut row.custom_attributes);
        let plain = [
            Change::new("name", before.name, row.name.clone()),
            Change::new("locale", before.locale, row.locale.clone()),
            Change::new("status", before.status.name(), row.status.name()),
            Change::new("domain", before.domain, row.domain.clone()),
            Change::new("support_email", before.support_email, row.support_email.clone()),
        ];
        let objects = [
            ("features", before.features, &row.features),
            ("limits", before.limits, &row.limits),
            ("custom_attributes", before.custom_attributes, &row.custom_attributes),
        ];
        let inside = objects
            .iter()
            .flat_map(|(field, before, after)| attribute_changes(field, before, after));
        plain.into_iter().flatten().chain(inside).collect()
    }
}

/// An account without a name, which is in use.
pub(super) fn blank(now: Micros) -> account::Model {
    account::Model {
        id: AccountId(0),
        name: String::new(),
        locale: "en".to_owned(),
        status: AccountStatus::Active,
        created_at: now,
        updated_at: now,
        domain: None,
        support_email: None,
        features: json!({}),
        limits: json!({}),
        custom_attributes: json!({}),
    }
}

/// What to change in a user; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// The full name.
    pub name: Option<String>,
    /// The name shown to contacts.
    pub display_name: Option<Option<String>>,
    /// The address, in lower case.
    pub email: Option<String>,
    /// The picture.
    pub avatar_url: Option<String>,
    /// Free attributes.
    pub custom_attributes: AttributesPatch,
    /// Settings of a front end; an object.
    pub ui_settings: Option<Json>,
    /// The text under e-mails.
    pub message_signature: Option<Option<String>>,
}

/// A user's own view of itself.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The user.
    pub user: user::Model,
    /// The memberships with their accounts, the one active in last first.
    pub memberships: Vec<(membership::Model, account::Model)>,
}

/// Stores a user.
///
/// # Errors
/// [`Error::Taken`] for an address that another user has.
pub async fn insert_user(db: &impl ConnectionTrait, new: NewUser) -> Result<user::Model> {
    let now = Micros::now();
    let row = user::ActiveModel {
        name: Set(new.name),
        display_name: Set(new.display_name),
        email: Set(new.email),
        avatar_url: Set(String::new()),
        custom_attributes: Set(json!({})),
        ui_settings: Set(json!({})),
        message_signature: Set(None),
        pubsub_token: Set(secret()),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    row.insert(db).await.map_err(email_taken)
}

fn email_taken(error: sea_orm::DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::Taken {
            violations: vec![Violation::new("email", Rule::Taken, "is the address of another user")],
            kind: "user",
            existing_id: None,
        },
        _ => error.into(),
    }
}

impl Chat {
    /// The caller's own user and memberships.
    ///
    /// # Errors
    /// [`Error::Denied`] for callers who are no users.
    pub async fn profile(&self, caller: &Caller) -> Result<Profile> {
        if caller.is_platform() {
            return Err(Error::WrongToken("a platform token is nobody's, so it has no profile"));
        }
        let id = caller.user_id().ok_or(Error::Denied("only a user has a profile"))?;
        let user = user::Entity::find_by_id(id).one(self.db.read()).await?.ok_or(Error::TokenInvalid)?;
        let memberships = self.memberships(id).await?;
        Ok(Profile { user, memberships })
    }

    /// The memberships of a user with their accounts, the one active in last first.
    async fn memberships(&self, id: UserId) -> Result<Vec<(membership::Model, account::Model)>> {
        let db = self.db.read();
        let mut rows = membership::Entity::find().filter(membership::Column::UserId.eq(id)).all(db).await?;
        // Chatwoot's order: a membership that was never active sorts before all others.
        rows.sort_by_key(|row| (row.active_at.map(|at| std::cmp::Reverse(at.0)), row.account_id));
        let ids = rows.iter().map(|row| row.account_id.0);
        let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(db).await?;
        let accounts: HashMap<AccountId, account::Model> = accounts.into_iter().map(|row| (row.id, row)).collect();
        let with = |row: membership::Model| Some((accounts.get(&row.account_id)?.clone(), row));
        Ok(rows.into_iter().filter_map(with).map(|(account, row)| (row, account)).collect())
    }

    /// Makes an account with its log.
    ///
    /// # Errors
    /// [`Error::Denied`] for anybody but the operator.
    pub async fn create_account(&self, call: Call<account::Model>, new: AccountPatch) -> Result<Answer<account::Model>> {
        call.caller.platform()?;
        let (caller, traceparent) = (Arc::clone(&call.caller), call.traceparent.clone());
        once(&self.db, call, move |txn| {
            Box::pin(async move {
                let now = Micros::now();
                let mut row = blank(now);
                new.apply(&mut row);
                let mut row = row.into_active_model().reset_all();
                row.id = NotSet;
                let row = row.insert(txn).await?;
                let counters = first_counters(row.id);
                account_log::ActiveModel::from(counters.clone()).reset_all().insert(txn).await?;
                let mut ledger = Ledger::open(Arc::new(row.clone()), counters, &caller, &traceparent);
                ledger.emit(Draft::new(EventKind::AccountCreated, Subject::Account));
                let cursor = ledger.cursor();
                let entered = ledger.close();
                append(txn, &entered.counters, &entered.entries).await?;
                Ok((row, Some(cursor)))
            })
        })
        .await
    }

    /// One account.
    ///
    /// # Errors
    /// [`Error::NotMember`]; [`Error::NotFound`] for the operator.
    pub async fn account(&self, caller: &Caller, id: AccountId) -> Result<Arc<account::Model>> {
        if !caller.is_platform() {
            caller.access(id)?;
        }
        load::account(self.db.read(), id).await
    }

    /// The accounts that the caller may see, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn accounts(&self, caller: &Caller, page: &PageRequest) -> Result<Page<account::Model>> {
        let mut query = account::Entity::find().filter(account::Column::Status.ne(AccountStatus::Deleted));
        if !caller.is_platform() {
            query = query.filter(account::Column::Id.is_in(caller.accounts.keys().map(|id| id.0)));
        }
        let ids = page::ids(self.db.read(), query, account::Column::Id, &Sort::by_id(false), page).await?;
        let rows = account::Entity::find()
            .filter(account::Column::Id.is_in(ids.items.iter().copied()))
            .all(self.db.read())
            .await?;
        Ok(Page {
            items: page::in_order(&ids.items, rows, |row| row.id.0),
            next: ids.next,
        })
    }

    /// Changes an account.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub async fn update_account(&self, call: Call<account::Model>, patch: AccountPatch) -> Result<Answer<account::Model>> {
        call.caller.administer_or_platform(call.account)?;
        if patch.is_the_operators() {
            call.caller.platform()?;
        }
        let answer = self
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let mut row = write.account().as_ref().clone();
                    let changes = patch.apply(&mut row);
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    row.updated_at = write.ledger.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.ledger.account = Arc::new(row.clone());
                    write.ledger.emit(Draft {
                        kind: EventKind::AccountUpdated,
                        subject: Subject::Account,
                        changes,
                    });
                    Ok(row)
                })
            })
            .await;
        self.tokens.forget();
        answer
    }

    /// Makes a user without any account.
    ///
    /// # Errors
    /// [`Error::Denied`] for anybody but the operator; [`Error::Taken`].
    pub async fn create_user(&self, call: Call<user::Model>, new: NewUser) -> Result<Answer<user::Model>> {
        call.caller.platform()?;
        let db = self.db.clone();
        let email = new.email.clone();
        let made = once(&self.db, call, move |txn| {
            Box::pin(async move { Ok((insert_user(txn, new).await?, None)) })
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

    /// One user with its memberships.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for users that the caller may not see.
    pub async fn user(&self, caller: &Caller, id: UserId) -> Result<Profile> {
        if caller.user_id() != Some(id) && !caller.is_platform() {
            return Err(Error::not_found("user", id));
        }
        let user = user::Entity::find_by_id(id)
            .one(self.db.read())
            .await?
            .ok_or_else(|| Error::not_found("user", id))?;
        let memberships = self.memberships(id).await?;
        Ok(Profile { user, memberships })
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for users that the caller may not change; [`Error::Taken`].
    pub async fn update_user(&self, call: Call<user::Model>, id: UserId, patch: UserPatch) -> Result<Answer<user::Model>> {
        if call.caller.user_id() != Some(id) || call.caller.read_only {
            call.caller.platform().map_err(|_| Error::not_found("user", id))?;
        }
        let accounts = self.accounts_of(id).await?;
        let (caller, traceparent) = (Arc::clone(&call.caller), call.traceparent.clone());
        let answer = once(&self.db, call, move |txn| {
            Box::pin(async move {
                let row = user::Entity::find_by_id(id)
                    .one(txn)
                    .await?
                    .ok_or_else(|| Error::not_found("user", id))?;
                let mut custom_attributes = row.custom_attributes;
                patch.custom_attributes.apply(&mut custom_attributes);
                let row = user::Model {
                    name: patch.name.unwrap_or(row.name),
                    display_name: patch.display_name.unwrap_or(row.display_name),
                    email: patch.email.unwrap_or(row.email),
                    avatar_url: patch.avatar_url.unwrap_or(row.avatar_url),
                    custom_attributes,
                    ui_settings: patch.ui_settings.unwrap_or(row.ui_settings),
                    message_signature: patch.message_signature.unwrap_or(row.message_signature),
                    updated_at: Micros::now(),
                    ..row
                };
                let row = row.into_active_model().reset_all().update(txn).await.map_err(email_taken)?;
                Ok((row, None))
            })
        })
        .await;
        self.tokens.forget();
        self.announce_user(&caller, &traceparent, accounts, id).await?;
        answer
    }

    /// The accounts that a user is a member of.
    pub(super) async fn accounts_of(&self, id: UserId) -> Result<Vec<AccountId>> {
        let rows = membership::Entity::find()
            .filter(membership::Column::UserId.eq(id))
            .all(self.db.read())
            .await?;
        Ok(rows.into_iter().map(|row| row.account_id).collect())
    }

    /// Tells accounts that a member's user changed: their logs move, and with them what was kept of the user.
    pub(super) async fn announce_user(&self, caller: &Arc<Caller>, traceparent: &str, accounts: Vec<AccountId>, id: UserId) -> Result<()> {
        for account in accounts {
            let call: Call<()> = Call {
                caller: Arc::clone(caller),
                account,
                key: None,
                traceparent: traceparent.to_owned(),
            };
            let told = self.writer.write(call, move |write| {
                Box::pin(async move {
                    let agents = load::agents(&write.txn, write.account().id, [id].into_iter()).await?;
                    if let Some(agent) = agents.get(&id) {
                        let subject = Subject::Agent(agent.as_ref().clone());
                        write.ledger.emit(Draft::new(EventKind::AgentUpdated, subject));
                    }
                    Ok(())
                })
            });
            told.await?;
        }
        Ok(())
    }
}
