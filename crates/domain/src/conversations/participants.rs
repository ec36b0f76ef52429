//! Manages the participants of conversations: members who follow a conversation in addition to its assignee.

use std::{collections::HashSet, sync::Arc};

use parley_eventlog::{kind::EventKind, pending_event::Change};
use parley_storage::{
    entity::{conversation_participant, kind::Role},
    joined::Agent,
    load,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, ConversationId, UserId},
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set,
    sea_query::{Expr, Query},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    conversations::{assignment, rows::save},
    messages::rules::changed_with,
    page::{Page, PageRequest},
    people::members::list_agents,
    write::{
        Write,
        call::{Answer, Call},
        response_subject::ResponseSubject,
    },
};

/// A change to a conversation's participants.
#[derive(Clone, Debug)]
pub enum ParticipantsPatch {
    /// Adds these users.
    Add(Vec<UserId>),
    /// Removes these users.
    Remove(Vec<UserId>),
    /// Replaces all participants with these users.
    Set(Vec<UserId>),
}

/// The result of changing the participants of a conversation.
#[derive(Clone, Debug)]
pub struct ChangedParticipants {
    /// All participants, in the order in which they joined the account.
    pub all: Vec<Arc<Agent>>,
    /// The participants whom the change added.
    pub added: Vec<Arc<Agent>>,
}

impl ResponseSubject for ChangedParticipants {}

/// Operations on the participants of conversations.
#[derive(Clone, Debug)]
pub struct Participants {
    context: Arc<Context>,
}

impl Participants {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Returns a page of the participants of a conversation, sorted by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn list(&self, caller: &Caller, account: AccountId, id: ConversationId, page: &PageRequest) -> Result<Page<Agent>> {
        let access = caller.access(account)?;
        let db = self.context.db.read();
        let conversation = load::conversation(db, &load::account(db, account).await?, id).await?;
        access.inbox(conversation.row.inbox_id)?;
        let mut users = Query::select();
        users
            .column(conversation_participant::Column::UserId)
            .from(conversation_participant::Entity)
            .and_where(Expr::col(conversation_participant::Column::AccountId).eq(account.0))
            .and_where(Expr::col(conversation_participant::Column::ConversationId).eq(id.0));
        list_agents(&self.context.db, account, users, page).await
    }

    /// Changes the participants of a conversation. Members who cannot be assigned in the inbox are ignored.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox;
    /// [`Error::Invalid`] if a user to add is not a member of the account.
    pub async fn update(
        &self,
        call: Call<ChangedParticipants>,
        id: ConversationId,
        patch: ParticipantsPatch,
    ) -> Result<Answer<ChangedParticipants>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let mut conversation = load::conversation(&write.txn, &account, id).await?;
                    access.inbox(conversation.row.inbox_id)?;
                    let before = current(write, id).await?;
                    let after = match patch {
                        ParticipantsPatch::Add(users) => {
                            let known = load::agents(&write.txn, account.id, users.iter().copied()).await?;
                            if !users.iter().all(|user| known.contains_key(user)) {
                                return Err(Error::invalid("user_ids", Rule::Unknown, "must be members of the account"));
                            }
                            let mut after = before.clone();
                            after.extend(assignable(write, conversation.row.inbox_id, users).await?);
                            after
                        }
                        ParticipantsPatch::Remove(users) => before.iter().copied().filter(|user| !users.contains(user)).collect(),
                        ParticipantsPatch::Set(users) => assignable(write, conversation.row.inbox_id, users).await?,
                    };
                    store(write, id, &before, &after).await?;
                    if let Some(change) = Change::new("participant_ids", sorted(&before), sorted(&after)) {
                        changed_with(&mut write.set, &mut conversation, EventKind::ConversationUpdated, vec![change]);
                        save(write, &mut conversation).await?;
                    }
                    let agents = load::agents(&write.txn, account.id, after.into_iter()).await?;
                    let mut all: Vec<_> = agents.into_values().collect();
                    all.sort_by_key(|agent| (agent.membership.created_at, agent.user.id));
                    let added = all.iter().filter(|agent| !before.contains(&agent.user.id)).cloned().collect();
                    Ok(ChangedParticipants { all, added })
                })
            })
            .await
    }
}

fn sorted(users: &HashSet<UserId>) -> Vec<i64> {
    let mut ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    ids.sort_unstable();
    ids
}

async fn current(write: &Write, id: ConversationId) -> Result<HashSet<UserId>> {
    let users: Vec<UserId> = conversation_participant::Entity::find()
        .select_only()
        .column(conversation_participant::Column::UserId)
        .filter(conversation_participant::Column::AccountId.eq(write.account().id))
        .filter(conversation_participant::Column::ConversationId.eq(id))
        .into_tuple()
        .all(&write.txn)
        .await?;
    Ok(users.into_iter().collect())
}

/// Returns those of `users` to whom conversations in the inbox can be assigned: members of the inbox, and administrators.
async fn assignable(write: &Write, inbox: parley_types::id::InboxId, users: Vec<UserId>) -> Result<HashSet<UserId>> {
    let agents = load::agents(&write.txn, write.account().id, users.into_iter()).await?;
    let members = assignment::members(write, inbox).await?;
    let may = |agent: &&Arc<Agent>| agent.membership.role == Role::Administrator || members.contains(&agent.user.id);
    Ok(agents.values().filter(may).map(|agent| agent.user.id).collect())
}

async fn store(write: &Write, id: ConversationId, before: &HashSet<UserId>, after: &HashSet<UserId>) -> Result<()> {
    use conversation_participant::Column;
    let account = write.account().id;
    let gone: Vec<i64> = before.difference(after).map(|user| user.0).collect();
    if !gone.is_empty() {
        conversation_participant::Entity::delete_many()
            .filter(Column::AccountId.eq(account))
            .filter(Column::ConversationId.eq(id))
            .filter(Column::UserId.is_in(gone))
            .exec(&write.txn)
            .await?;
    }
    let rows: Vec<_> = after
        .difference(before)
        .map(|user| conversation_participant::ActiveModel {
            account_id: Set(account),
            conversation_id: Set(id),
            user_id: Set(*user),
            created_at: Set(write.set.at),
        })
        .collect();
    if !rows.is_empty() {
        conversation_participant::Entity::insert_many(rows)
            .exec_without_returning(&write.txn)
            .await?;
    }
    Ok(())
}
