//! Inbox members, and the agents to whom an inbox's conversations can be assigned.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{inbox, inbox_member, kind::Role, membership},
    joined::Agent,
    load,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, InboxId, UserId},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set,
    sea_query::{Cond, Expr, Query},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    inboxes::authorize_change,
    page::{Page, PageRequest},
    people::{
        members::{Edit, list_agents},
        teams::ids,
    },
    write::{
        Write,
        call::{Answer, Call},
    },
};

async fn members(db: &impl ConnectionTrait, account: AccountId, inbox: InboxId) -> Result<HashSet<UserId>> {
    let users: Vec<UserId> = inbox_member::Entity::find()
        .select_only()
        .column(inbox_member::Column::UserId)
        .filter(inbox_member::Column::AccountId.eq(account))
        .filter(inbox_member::Column::InboxId.eq(inbox))
        .into_tuple()
        .all(db)
        .await?;
    Ok(users.into_iter().collect())
}

/// Stores the change of an inbox's members from `before` to `after`: deletes the rows of removed members and inserts rows for new ones.
async fn store(write: &Write, inbox: InboxId, before: &HashSet<UserId>, after: &HashSet<UserId>) -> Result<()> {
    let (account, at) = (write.account().id, write.set.at);
    let gone: Vec<i64> = before.difference(after).map(|user| user.0).collect();
    if !gone.is_empty() {
        inbox_member::Entity::delete_many()
            .filter(inbox_member::Column::AccountId.eq(account))
            .filter(inbox_member::Column::InboxId.eq(inbox))
            .filter(inbox_member::Column::UserId.is_in(gone))
            .exec(&write.txn)
            .await?;
    }
    let member = |user: &UserId| inbox_member::ActiveModel {
        account_id: Set(account),
        inbox_id: Set(inbox),
        user_id: Set(*user),
        created_at: Set(at),
    };
    let new: Vec<_> = after.difference(before).map(member).collect();
    if !new.is_empty() {
        inbox_member::Entity::insert_many(new).exec_without_returning(&write.txn).await?;
    }
    Ok(())
}

/// Operations on the members of inboxes.
#[derive(Clone, Debug)]
pub struct InboxMembers {
    context: Arc<Context>,
}

impl InboxMembers {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Returns a page of the members of an inbox, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such inbox, and [`Error::Denied`] if the caller has no access to it.
    pub async fn list(&self, caller: &Caller, account: AccountId, inbox: InboxId, page: &PageRequest) -> Result<Page<Agent>> {
        let access = caller.access(account)?;
        load::inbox(self.context.db.read(), account, inbox).await?;
        access.inbox(inbox)?;
        let mut members = Query::select();
        members
            .column(inbox_member::Column::UserId)
            .from(inbox_member::Entity)
            .and_where(Expr::col(inbox_member::Column::AccountId).eq(account.0))
            .and_where(Expr::col(inbox_member::Column::InboxId).eq(inbox.0));
        list_agents(&self.context.db, account, members, page).await
    }

    /// Changes the members of an inbox as `edit` specifies. Returns all members after the change, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such inbox, [`Error::Denied`] if the caller may not change it, and [`Error::Invalid`] if
    /// a user is not a member of the account.
    pub async fn edit(&self, call: Call<Vec<Agent>>, inbox: InboxId, edit: Edit, users: Vec<UserId>) -> Result<Answer<Vec<Agent>>> {
        authorize_change(&self.context.db, &call.caller, call.account, inbox).await?;
        let answer = self
            .context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    let row = load::inbox(&write.txn, account, inbox).await?;
                    let before = members(&write.txn, account, inbox).await?;
                    let after = edit.apply(&before, &users);
                    let agents = load::agents(&write.txn, account, after.iter().chain(&users).copied()).await?;
                    if !users.iter().all(|user| agents.contains_key(user)) {
                        return Err(Error::invalid("user_ids", Rule::Unknown, "must be members of the account"));
                    }
                    store(write, inbox, &before, &after).await?;
                    if let Some(change) = Change::new("member_ids", ids(before.iter().copied()), ids(after.iter().copied())) {
                        write.set.emit(PendingEvent {
                            kind: EventKind::InboxUpdated,
                            subject: Subject::Inbox(row),
                            changes: vec![change],
                        });
                    }
                    let mut members: Vec<Agent> = agents
                        .into_iter()
                        .filter(|(user, _)| after.contains(user))
                        .map(|(_, agent)| Arc::unwrap_or_clone(agent))
                        .collect();
                    members.sort_by_key(|agent| (agent.user.name.to_lowercase(), agent.user.id));
                    Ok(members)
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }

    /// Returns a page of the agents to whom conversations in every one of the given inboxes can be assigned, sorted by name. These are the
    /// users who are members of all the inboxes, and the account's administrators.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if an inbox does not exist, and [`Error::Denied`] if the caller has no access to it.
    pub async fn list_assignable(
        &self,
        caller: &Caller,
        account: AccountId,
        inboxes: &HashSet<InboxId>,
        page: &PageRequest,
    ) -> Result<Page<Agent>> {
        let access = caller.access(account)?;
        let wanted: Vec<i64> = inboxes.iter().map(|id| id.0).collect();
        let known: Vec<InboxId> = inbox::Entity::find()
            .select_only()
            .column(inbox::Column::Id)
            .filter(inbox::Column::AccountId.eq(account))
            .filter(inbox::Column::Id.is_in(wanted.iter().copied()))
            .into_tuple()
            .all(self.context.db.read())
            .await?;
        let known: HashSet<InboxId> = known.into_iter().collect();
        if let Some(missing) = inboxes.difference(&known).min() {
            return Err(Error::not_found("inbox", *missing));
        }
        for id in inboxes {
            access.inbox(*id)?;
        }
        let mut all = Query::select();
        all.column(inbox_member::Column::UserId)
            .from(inbox_member::Entity)
            .and_where(Expr::col(inbox_member::Column::AccountId).eq(account.0))
            .and_where(Expr::col(inbox_member::Column::InboxId).is_in(wanted))
            .group_by_col(inbox_member::Column::UserId)
            .and_having(
                Expr::col(inbox_member::Column::InboxId)
                    .count()
                    .eq(i64::try_from(inboxes.len()).unwrap_or(i64::MAX)),
            );
        let mut users = Query::select();
        users
            .column(membership::Column::UserId)
            .from(membership::Entity)
            .and_where(Expr::col(membership::Column::AccountId).eq(account.0))
            .cond_where(
                Cond::any()
                    .add(Expr::col(membership::Column::Role).eq(Role::Administrator as i16))
                    .add(Expr::col(membership::Column::UserId).in_subquery(all)),
            );
        list_agents(&self.context.db, account, users, page).await
    }
}
