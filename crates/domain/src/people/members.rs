//! Memberships of users in accounts. For members of inboxes, see `inboxes::members`.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    Database,
    entity::{
        conversation, former_member, inbox_member,
        kind::{Availability, Role},
        membership, team_member, user,
    },
    joined::Agent,
    load,
};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, UserId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QuerySelect, RelationTrait,
    sea_query::{Expr, Func, IntoCondition, JoinType, OnConflict, Query},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{self, Page, PageRequest, Sort},
    patch::patch_fields,
    write::call::{Answer, Call},
};

/// A membership to create or change. `None` selects the default for a new membership, and leaves the value of an existing one unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembershipPatch {
    pub role: Option<Role>,
    /// The availability that the user has chosen.
    pub availability: Option<Availability>,
    /// Whether the user counts as offline while not connected.
    pub auto_offline: Option<bool>,
}

impl MembershipPatch {
    /// Applies the patch to a membership, and returns the changed fields.
    pub(super) fn apply(self, row: &mut membership::Model) -> Vec<Change> {
        patch_fields!(self, row: role, availability, auto_offline)
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Loads a member of the account.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such member, and [`Error::Database`] if a query fails.
pub(crate) async fn agent(db: &impl ConnectionTrait, account: AccountId, user: UserId) -> Result<Agent> {
    let mut agents = load::agents(db, account, [user].into_iter()).await?;
    agents
        .remove(&user)
        .map(Arc::unwrap_or_clone)
        .ok_or_else(|| Error::not_found("member", user))
}

/// Returns the sort order by the name that the account sees. Sorting by another name would reveal information about a name that the
/// account must not see.
fn by_name() -> Sort {
    let shown = Func::coalesce([
        Expr::col((membership::Entity, membership::Column::Name)),
        Expr::col((user::Entity, user::Column::Name)),
    ]);
    Sort {
        by: Some(Func::lower(shown).into()),
        coarse: None,
        aside: None,
        text: true,
        nullable: false,
        descending: false,
    }
}

/// Stores the name and address of a member whose membership ends, because messages continue to show their senders.
async fn remember(db: &impl ConnectionTrait, agent: &Agent) -> Result<()> {
    use former_member::Column;
    let row = former_member::Model {
        account_id: agent.membership.account_id,
        user_id: agent.user.id,
        name: agent.user.name.clone(),
        display_name: agent.user.display_name.clone(),
        email: agent.user.email.clone(),
    };
    let again = OnConflict::columns([Column::AccountId, Column::UserId])
        .update_columns([Column::Name, Column::DisplayName, Column::Email])
        .to_owned();
    former_member::Entity::insert(row.into_active_model().reset_all())
        .on_conflict(again)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Checks first that a member exists and then that the caller may change it. A platform token is not limited to accounts, so it is only
/// checked for permission to write.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such member, and [`Error::Denied`] if the caller may not change it.
pub(crate) async fn authorize_change(db: &Database, caller: &Caller, account: AccountId, id: UserId) -> Result<()> {
    if caller.is_platform() {
        return caller.platform();
    }
    caller.administer_seen(account, agent(db.read(), account, id)).await
}

/// How a set of members is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds the given users.
    Add,
    /// Removes the given users.
    Remove,
    /// Replaces the set with the given users.
    Set,
}

impl Edit {
    /// Returns the set after the change.
    pub(crate) fn apply(self, before: &HashSet<UserId>, users: &[UserId]) -> HashSet<UserId> {
        let users = users.iter().copied();
        match self {
            Self::Add => before.iter().copied().chain(users).collect(),
            Self::Remove => {
                let gone: HashSet<UserId> = users.collect();
                before.difference(&gone).copied().collect()
            }
            Self::Set => users.collect(),
        }
    }
}

/// Operations on the members of accounts.
#[derive(Clone, Debug)]
pub struct Members {
    context: Arc<Context>,
}

impl Members {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Makes a user a member. Only the operator can add members by id: an account could otherwise probe ids to find users.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is the operator, [`Error::Taken`] if the user is already a member, and
    /// [`Error::Invalid`] if there is no such user.
    pub async fn create(&self, call: Call<Agent>, id: UserId, new: MembershipPatch) -> Result<Answer<Agent>> {
        call.caller.platform()?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    if load::users(&write.txn, [id].into_iter()).await?.is_empty() {
                        return Err(Error::invalid("user_id", Rule::Unknown, "must be a user"));
                    }
                    if membership::Entity::find_by_id((account, id)).one(&write.txn).await?.is_some() {
                        let violations = vec![FieldViolation::new("user_id", Rule::Taken, "is already a member")];
                        return Err(Error::Taken {
                            violations,
                            kind: "member",
                            existing_id: Some(id.0),
                        });
                    }
                    let row = membership::Model {
                        account_id: account,
                        user_id: id,
                        role: new.role.unwrap_or(Role::Agent),
                        availability: new.availability.unwrap_or(Availability::Online),
                        auto_offline: new.auto_offline.unwrap_or(true),
                        active_at: None,
                        inviter_id: None,
                        created_at: write.set.at,
                        updated_at: write.set.at,
                        name: None,
                        email: None,
                    };
                    row.into_active_model().reset_all().insert(&write.txn).await?;
                    let agent = agent(&write.txn, account, id).await?;
                    write
                        .set
                        .emit(PendingEvent::new(EventKind::AgentAdded, Subject::Agent(agent.clone())));
                    Ok(agent)
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Changes a membership.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is an administrator of the account or the operator, and [`Error::NotFound`] if there is
    /// no such member.
    pub async fn update(&self, call: Call<Agent>, id: UserId, patch: MembershipPatch) -> Result<Answer<Agent>> {
        call.caller.administer_or_platform(call.account)?;
        self.change(call, id, patch).await
    }

    /// Changes a membership. The caller must have been authorized.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such member.
    pub(crate) async fn change(&self, call: Call<Agent>, id: UserId, patch: MembershipPatch) -> Result<Answer<Agent>> {
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = membership::Entity::find_by_id((account, id)).one(&write.txn).await?;
                    let mut row = row.ok_or_else(|| Error::not_found("member", id))?;
                    let changes = patch.apply(&mut row);
                    if !changes.is_empty() {
                        row.updated_at = write.set.at;
                        row.into_active_model().reset_all().update(&write.txn).await?;
                    }
                    let agent = agent(&write.txn, account, id).await?;
                    if !changes.is_empty() {
                        write.set.emit(PendingEvent {
                            kind: EventKind::AgentUpdated,
                            subject: Subject::Agent(agent.clone()),
                            changes,
                        });
                    }
                    Ok(agent)
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Ends a membership, and with it the user's membership of inboxes and teams and its assignments in the account.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such member, and [`Error::Denied`] if the caller may not change it.
    pub async fn delete(&self, call: Call<()>, id: UserId) -> Result<Answer<()>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let agent = agent(&write.txn, account, id).await?;
                    membership::Entity::delete_by_id((account, id)).exec(&write.txn).await?;
                    remember(&write.txn, &agent).await?;
                    inbox_member::Entity::delete_many()
                        .filter(inbox_member::Column::AccountId.eq(account))
                        .filter(inbox_member::Column::UserId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    team_member::Entity::delete_many()
                        .filter(team_member::Column::AccountId.eq(account))
                        .filter(team_member::Column::UserId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    let version = write.set.next_seq();
                    conversation::Entity::update_many()
                        .col_expr(conversation::Column::AssigneeId, Expr::value(Option::<i64>::None))
                        .col_expr(conversation::Column::Version, Expr::value(version.0))
                        .filter(conversation::Column::AccountId.eq(account))
                        .filter(conversation::Column::AssigneeId.eq(id))
                        .exec(&write.txn)
                        .await?;
                    write.set.emit(PendingEvent::new(EventKind::AgentRemoved, Subject::Agent(agent)));
                    Ok(())
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Returns a page of the members of an account, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, page: &PageRequest) -> Result<Page<Agent>> {
        if !caller.is_platform() {
            caller.access(account)?;
        }
        let mut members = Query::select();
        members
            .column(membership::Column::UserId)
            .from(membership::Entity)
            .and_where(Expr::col(membership::Column::AccountId).eq(account.0));
        list_agents(&self.context.db, account, members, page).await
    }
}

/// Returns a page of the given users as members of the account, sorted by name.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub(crate) async fn list_agents(
    db: &Database,
    account: AccountId,
    users: sea_orm::sea_query::SelectStatement,
    page: &PageRequest,
) -> Result<Page<Agent>> {
    let db = db.read();
    let of_account = membership::Relation::User
        .def()
        .on_condition(move |_, _| membership::Column::AccountId.eq(account).into_condition());
    let query = user::Entity::find()
        .filter(user::Column::Id.in_subquery(users))
        .join_rev(JoinType::InnerJoin, of_account);
    let ids = page::ids(db, query, user::Column::Id, &by_name(), page).await?;
    let ids = page::fitting(db, user::Entity::find(), user::Column::Id, None, ids).await?;
    let agents = load::agents(db, account, ids.items.iter().copied().map(UserId)).await?;
    let agents = agents.into_values().map(Arc::unwrap_or_clone).collect();
    Ok(ids.with(agents, |agent: &Agent| agent.user.id.0))
}
