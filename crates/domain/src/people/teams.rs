//! Operations on teams. The module `team_members` handles their members.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    Database,
    entity::{conversation, team, team_member},
};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, TeamId, UserId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, QuerySelect, Set,
    sea_query::Expr,
};
use serde_json::Value as Json;

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{self, Page, PageRequest, Sort},
    patch::patch_fields,
    write::{
        Write,
        call::{Answer, Call},
        response_subject::ResponseSubject,
    },
};

/// A team to create.
#[derive(Clone, Debug)]
pub struct NewTeam {
    /// The name. It is converted to lower case.
    pub name: String,
    pub description: Option<String>,
    /// Whether conversations of the team are assigned to its members automatically.
    pub allow_auto_assign: bool,
}

/// Changes to a team; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct TeamPatch {
    /// The name. It is converted to lower case.
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    /// Whether conversations of the team are assigned to its members automatically.
    pub allow_auto_assign: Option<bool>,
}

/// A team as a caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamView {
    pub row: team::Model,
    /// Whether the caller is a member of the team.
    pub is_member: bool,
}

impl ResponseSubject for TeamView {}

/// Loads one team.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such team, and [`Error::Database`] if the query fails.
pub(crate) async fn find(db: &impl ConnectionTrait, account: AccountId, id: TeamId) -> Result<team::Model> {
    let row = team::Entity::find_by_id(id)
        .filter(team::Column::AccountId.eq(account))
        .one(db)
        .await?;
    row.ok_or_else(|| Error::not_found("team", id))
}

/// Loads the team that a request assigns a conversation to.
///
/// # Errors
/// Returns [`Error::Invalid`] if there is no such team, and [`Error::Database`] if the query fails.
pub(crate) async fn known(write: &Write, id: TeamId) -> Result<team::Model> {
    match find(&write.txn, write.account().id, id).await {
        Err(Error::NotFound { .. }) => Err(Error::invalid("team_id", Rule::Unknown, "must be a team of the account")),
        found => found,
    }
}

/// Returns the ids of the account's teams that a user belongs to. The result is empty if the caller is not a user.
async fn teams_of(db: &impl ConnectionTrait, account: AccountId, user: Option<UserId>) -> Result<HashSet<TeamId>> {
    let Some(user) = user else {
        return Ok(HashSet::new());
    };
    let ids: Vec<TeamId> = team_member::Entity::find()
        .select_only()
        .column(team_member::Column::TeamId)
        .filter(team_member::Column::AccountId.eq(account))
        .filter(team_member::Column::UserId.eq(user))
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids.into_iter().collect())
}

async fn view(db: &impl ConnectionTrait, row: team::Model, user: Option<UserId>) -> Result<TeamView> {
    let is_member = teams_of(db, row.account_id, user).await?.contains(&row.id);
    Ok(TeamView { row, is_member })
}

/// Rejects a name that another team of the account already has.
async fn check_name(db: &impl ConnectionTrait, account: AccountId, name: &str, own: Option<TeamId>) -> Result<()> {
    let other = team::Entity::find()
        .filter(team::Column::AccountId.eq(account))
        .filter(team::Column::Name.eq(name))
        .one(db)
        .await?;
    match other.filter(|other| Some(other.id) != own) {
        None => Ok(()),
        Some(other) => Err(Error::Taken {
            violations: vec![FieldViolation::new("team.name", Rule::Taken, "is the name of another team")],
            kind: "team",
            existing_id: Some(other.id.0),
        }),
    }
}

/// Operations on teams.
#[derive(Clone, Debug)]
pub struct Teams {
    context: Arc<Context>,
}

impl Teams {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a team.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is an administrator, and [`Error::Taken`] if another team has the name.
    pub async fn create(&self, call: Call<TeamView>, new: NewTeam) -> Result<Answer<TeamView>> {
        call.caller.administer(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let (account, at, name) = (write.account().id, write.set.at, new.name.to_lowercase());
                    check_name(&write.txn, account, &name, None).await?;
                    let row = team::ActiveModel {
                        account_id: Set(account),
                        name: Set(name),
                        description: Set(new.description),
                        allow_auto_assign: Set(new.allow_auto_assign),
                        created_at: Set(at),
                        updated_at: Set(at),
                        ..Default::default()
                    };
                    let row = row.insert(&write.txn).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::TeamCreated, Subject::Team(row.clone())));
                    Ok(TeamView { row, is_member: false })
                })
            })
            .await
    }

    /// Returns one team.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account, and [`Error::NotFound`] if there is no such team.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: TeamId) -> Result<TeamView> {
        caller.access(account)?;
        let row = find(self.context.db.read(), account, id).await?;
        view(self.context.db.read(), row, caller.user_id()).await
    }

    /// Returns a page of the teams of an account, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, page: &PageRequest) -> Result<Page<TeamView>> {
        caller.access(account)?;
        let db = self.context.db.read();
        let sort = Sort {
            by: Some(Expr::col((team::Entity, team::Column::Name))),
            coarse: None,
            aside: None,
            text: true,
            nullable: false,
            descending: false,
        };
        let query = team::Entity::find().filter(team::Column::AccountId.eq(account));
        let ids = page::ids(db, query, team::Column::Id, &sort, page).await?;
        let rows = team::Entity::find().filter(team::Column::AccountId.eq(account));
        let rows = page::rows(db, rows, team::Column::Id, |row| row.id.0, ids).await?;
        let own = teams_of(db, account, caller.user_id()).await?;
        let seen = |row: team::Model| TeamView {
            is_member: own.contains(&row.id),
            row,
        };
        Ok(rows.map(seen))
    }

    /// Changes a team.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such team, [`Error::Denied`] if the caller may not change it, and [`Error::Taken`] if
    /// another team has the name.
    pub async fn update(&self, call: Call<TeamView>, id: TeamId, patch: TeamPatch) -> Result<Answer<TeamView>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let mut row = find(&write.txn, write.account().id, id).await?;
                    let user = write.caller.user_id();
                    let patch = TeamPatch {
                        name: patch.name.map(|name| name.to_lowercase()),
                        ..patch
                    };
                    let changes: Vec<Change> = patch_fields!(patch, row: name, description, allow_auto_assign)
                        .into_iter()
                        .flatten()
                        .collect();
                    if changes.is_empty() {
                        return view(&write.txn, row, user).await;
                    }
                    check_name(&write.txn, row.account_id, &row.name, Some(id)).await?;
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.emit(PendingEvent {
                        kind: EventKind::TeamUpdated,
                        subject: Subject::Team(row.clone()),
                        changes,
                    });
                    view(&write.txn, row, user).await
                })
            })
            .await
    }

    /// Deletes a team. Its members remain in the account, and its conversations are left without a team.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such team, and [`Error::Denied`] if the caller may not change it.
    pub async fn delete(&self, call: Call<()>, id: TeamId) -> Result<Answer<()>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = find(&write.txn, write.account().id, id).await?;
                    // No conversation needs an event of its own: the event about the team makes writer shards evict all of the account's
                    // rows from their caches.
                    conversation::Entity::update_many()
                        .col_expr(conversation::Column::TeamId, Expr::value(Option::<i64>::None))
                        .col_expr(conversation::Column::Version, Expr::value(write.set.next_seq().0))
                        .filter(conversation::Column::AccountId.eq(write.account().id))
                        .filter(conversation::Column::TeamId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    // This also deletes the team's memberships, through a foreign key.
                    row.clone().delete(&write.txn).await?;
                    write.set.emit(PendingEvent::new(EventKind::TeamDeleted, Subject::Team(row)));
                    Ok(())
                })
            })
            .await
    }

    /// Checks first that a team exists and then that the caller may change it.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such team, and [`Error::Denied`] if the caller may not change it.
    pub async fn authorize_change(&self, caller: &Caller, account: AccountId, id: TeamId) -> Result<()> {
        authorize_change(&self.context.db, caller, account, id).await
    }
}

/// Checks first that a team exists and then that the caller may change it.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such team, and [`Error::Denied`] if the caller may not change it.
pub(crate) async fn authorize_change(db: &Database, caller: &Caller, account: AccountId, id: TeamId) -> Result<()> {
    caller.administer_seen(account, find(db.read(), account, id)).await
}

/// Returns user ids in ascending order, as listed in the changes of an event.
pub(crate) fn ids(users: impl IntoIterator<Item = UserId>) -> Json {
    let mut ids: Vec<i64> = users.into_iter().map(i64::from).collect();
    ids.sort_unstable();
    ids.into()
}
