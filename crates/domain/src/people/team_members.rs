//! Lists and changes the members of teams.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{entity::team_member, joined::Agent, load};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, TeamId, UserId},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set, sea_query::Expr, sea_query::Query};

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{Page, PageRequest},
    people::{
        members::{Edit, list_agents},
        teams::{authorize_change, find, ids},
    },
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// Returns the members of a team.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub(crate) async fn members(db: &impl ConnectionTrait, account: AccountId, id: TeamId) -> Result<HashSet<UserId>> {
    let users: Vec<UserId> = team_member::Entity::find()
        .select_only()
        .column(team_member::Column::UserId)
        .filter(team_member::Column::AccountId.eq(account))
        .filter(team_member::Column::TeamId.eq(id))
        .into_tuple()
        .all(db)
        .await?;
    Ok(users.into_iter().collect())
}

/// Stores the change of a team's members from `before` to `after`: deletes the rows of removed members and inserts rows for new ones.
async fn store(write: &mut Write, id: TeamId, before: &HashSet<UserId>, after: &HashSet<UserId>) -> Result<()> {
    let (account, at) = (write.account().id, write.set.at);
    let gone: Vec<i64> = before.difference(after).map(|user| user.0).collect();
    if !gone.is_empty() {
        team_member::Entity::delete_many()
            .filter(team_member::Column::AccountId.eq(account))
            .filter(team_member::Column::TeamId.eq(id))
            .filter(team_member::Column::UserId.is_in(gone))
            .exec(&write.txn)
            .await?;
    }
    let new: Vec<_> = after
        .difference(before)
        .map(|user| team_member::ActiveModel {
            account_id: Set(account),
            team_id: Set(id),
            user_id: Set(*user),
            created_at: Set(at),
        })
        .collect();
    if !new.is_empty() {
        team_member::Entity::insert_many(new).exec_without_returning(&write.txn).await?;
    }
    Ok(())
}

/// Operations on the members of teams.
#[derive(Clone, Debug)]
pub struct TeamMembers {
    context: Arc<Context>,
}

impl TeamMembers {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Returns a page of the members of a team, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotMember`] if the caller has no access to the account, and [`Error::NotFound`] if there is no such team.
    pub async fn list(&self, caller: &Caller, account: AccountId, id: TeamId, page: &PageRequest) -> Result<Page<Agent>> {
        caller.access(account)?;
        find(self.context.db.read(), account, id).await?;
        let mut users = Query::select();
        users
            .column(team_member::Column::UserId)
            .from(team_member::Entity)
            .and_where(Expr::col(team_member::Column::AccountId).eq(account.0))
            .and_where(Expr::col(team_member::Column::TeamId).eq(id.0));
        list_agents(&self.context.db, account, users, page).await
    }

    /// Changes the members of a team. Returns the users who were added or, for [`Edit::Set`], all members, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such team, [`Error::Denied`] if the caller may not change it, and [`Error::Invalid`] if a
    /// user is not a member of the account.
    pub async fn edit(&self, call: Call<Vec<Agent>>, id: TeamId, edit: Edit, users: Vec<UserId>) -> Result<Answer<Vec<Agent>>> {
        authorize_change(&self.context.db, &call.caller, call.account, id).await?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = find(&write.txn, account, id).await?;
                    let mut agents = load::agents(&write.txn, account, users.iter().copied()).await?;
                    if !users.iter().all(|user| agents.contains_key(user)) {
                        return Err(Error::invalid("user_ids", Rule::Unknown, "must be members of the account"));
                    }
                    let before = members(&write.txn, account, id).await?;
                    let after = edit.apply(&before, &users);
                    store(write, id, &before, &after).await?;
                    if let Some(change) = Change::new("member_ids", ids(before.iter().copied()), ids(after.iter().copied())) {
                        write.set.emit(PendingEvent {
                            kind: EventKind::TeamUpdated,
                            subject: Subject::Team(row),
                            changes: vec![change],
                        });
                    }
                    agents.retain(|user, _| match edit {
                        Edit::Add => !before.contains(user),
                        Edit::Remove => false,
                        Edit::Set => true,
                    });
                    let mut shown: Vec<Agent> = agents.into_values().map(Arc::unwrap_or_clone).collect();
                    shown.sort_by_key(|agent| (agent.user.name.to_lowercase(), agent.user.id));
                    Ok(shown)
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }
}
