//! Creates, reads and updates accounts.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    log::{append, first_counters},
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{account, account_log, kind::AccountStatus},
    load,
};
use parley_types::{attribute_limits::check_change, error::Result, id::AccountId, time::Micros};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, NotSet, QueryFilter};
use serde_json::{Value as Json, json};

use crate::{
    attributes::{AttributesPatch, attribute_changes},
    auth::caller::Caller,
    cache_keys::{self, CacheKeys},
    context::Context,
    page::{self, Page, PageRequest, Sort},
    patch::patch_fields,
    write::{
        WriteSet,
        call::{Answer, Call},
        once,
    },
};

/// Changes to an account; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct AccountPatch {
    pub name: Option<String>,
    pub locale: Option<String>,
    /// Whether the account is active. Only the operator may change it, `features`, `limits` and `custom_attributes`.
    pub status: Option<AccountStatus>,
    /// The e-mail domain of the organization.
    pub domain: Option<Option<String>>,
    /// The support e-mail address of the organization.
    pub support_email: Option<Option<String>>,
    /// The enabled features.
    pub features: AttributesPatch,
    /// Limits that the operator records. Parley does not enforce them.
    pub limits: AttributesPatch,
    /// Other attributes that the operator records.
    pub custom_attributes: AttributesPatch,
}

impl AccountPatch {
    fn is_the_operators(&self) -> bool {
        let objects = [&self.features, &self.limits, &self.custom_attributes];
        self.status.is_some() || objects.iter().any(|patch| patch.replace.is_some() || !patch.keys.is_empty())
    }

    /// Applies the patch to the row, and returns the changed fields.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Invalid`] if an attribute map exceeds [`parley_types::attribute_limits`].
    fn apply(self, row: &mut account::Model) -> Result<Vec<Change>> {
        let before = row.clone();
        let plain = patch_fields!(self, row: name, locale, status, domain, support_email);
        self.features.apply(&mut row.features);
        if let Json::Object(features) = &mut row.features {
            features.retain(|_, on| *on == Json::Bool(true));
        }
        self.limits.apply(&mut row.limits);
        self.custom_attributes.apply(&mut row.custom_attributes);
        let objects = [
            ("features", before.features, &row.features),
            ("limits", before.limits, &row.limits),
            ("custom_attributes", before.custom_attributes, &row.custom_attributes),
        ];
        for (field, before, after) in &objects {
            check_change(&format!("account.{field}"), before, after)?;
        }
        let inside = objects
            .iter()
            .flat_map(|(field, before, after)| attribute_changes(field, before, after));
        Ok(plain.into_iter().flatten().chain(inside).collect())
    }
}

/// Returns the row of a new active account, without an id or a name.
pub(crate) fn blank(now: Micros) -> account::Model {
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

/// Operations on accounts.
#[derive(Clone, Debug)]
pub struct Accounts {
    pub(super) context: Arc<Context>,
}

impl Accounts {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates an account, whose event log starts with the event of its creation.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is the operator.
    pub async fn create(&self, call: Call<account::Model>, new: AccountPatch) -> Result<Answer<account::Model>> {
        call.caller.platform()?;
        let (caller, traceparent) = (Arc::clone(&call.caller), call.traceparent.clone());
        once(&self.context.db, call, move |txn| {
            Box::pin(async move {
                let now = Micros::now();
                let mut row = blank(now);
                new.apply(&mut row)?;
                let mut row = row.into_active_model().reset_all();
                row.id = NotSet;
                let row = row.insert(txn).await?;
                let counters = first_counters(row.id);
                account_log::ActiveModel::from(counters.clone()).reset_all().insert(txn).await?;
                let mut set = WriteSet::open(Arc::new(row.clone()), counters, &caller, &traceparent);
                set.emit(PendingEvent::new(EventKind::AccountCreated, Subject::Account));
                let cursor = set.cursor();
                let entered = set.close();
                append(txn, &entered.counters, &entered.entries).await?;
                Ok((row, Some(cursor)))
            })
        })
        .await
    }

    /// Returns one account.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to it. The operator receives
    /// [`parley_types::error::Error::NotFound`] if the account does not exist.
    pub async fn get(&self, caller: &Caller, id: AccountId) -> Result<Arc<account::Model>> {
        if !caller.is_platform() {
            caller.access(id)?;
        }
        load::account(self.context.db.read(), id).await
    }

    /// Returns a page of the accounts that the caller can see, sorted by id.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails.
    pub async fn list(&self, caller: &Caller, page: &PageRequest) -> Result<Page<account::Model>> {
        let mut query = account::Entity::find().filter(account::Column::Status.ne(AccountStatus::Deleted));
        if !caller.is_platform() {
            query = query.filter(account::Column::Id.is_in(caller.accounts.keys().map(|id| id.0)));
        }
        let ids = page::ids(self.context.db.read(), query, account::Column::Id, &Sort::by_id(false), page).await?;
        page::rows(
            self.context.db.read(),
            account::Entity::find(),
            account::Column::Id,
            |row| row.id.0,
            ids,
        )
        .await
    }

    /// Returns the cache keys of the account's labels, inboxes and teams, as the caller sees them.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] or [`parley_types::error::Error::Suspended`] if the caller has no access to the
    /// account.
    pub async fn cache_keys(&self, caller: &Caller, account: AccountId) -> Result<CacheKeys> {
        cache_keys::read(&self.context.db, caller, account).await
    }

    /// Changes an account.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] if the caller may not change the account, or not these settings, and
    /// [`parley_types::error::Error::Invalid`] if an attribute map is too large.
    pub async fn update(&self, call: Call<account::Model>, patch: AccountPatch) -> Result<Answer<account::Model>> {
        call.caller.administer_or_platform(call.account)?;
        if patch.is_the_operators() {
            call.caller.platform()?;
        }
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let mut row = write.account().as_ref().clone();
                    let changes = patch.apply(&mut row)?;
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.account = Arc::new(row.clone());
                    write.set.emit(PendingEvent {
                        kind: EventKind::AccountUpdated,
                        subject: Subject::Account,
                        changes,
                    });
                    Ok(row)
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }
}
