//! Assigns conversations automatically, round-robin among the members of an inbox who are online. For each member, the database stores when
//! a conversation in the inbox was last assigned to that member, so the rotation continues after restarts and across replicas. The row lock
//! on the account's counters ensures that conversations are assigned one after another.

use crate::conversations::rows::check_member;
use crate::messages::append::add_activity;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parley_eventlog::{kind::EventKind, pending_event::Change};
use parley_storage::{
    entity::{
        assignment_turn, inbox_member,
        kind::{Availability, ConversationStatus},
        team,
    },
    joined::{Agent, Conversation},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{ConversationId, InboxId, UserId},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Set, sea_query::OnConflict};

use crate::{conversations::rows::save, messages::rules::changed_with, people::team_members, write::Write};

/// Assigns a conversation to a member of the account, or removes its assignee if `assignee` is `None`.
///
/// # Errors
/// [`Error::Invalid`] if the user is not a member of the account.
pub(crate) async fn assign(write: &mut Write, conversation: &mut Conversation, assignee: Option<UserId>) -> Result<()> {
    let before = conversation.row.assignee_id;
    let Some(change) = Change::new("assignee_id", before.map(i64::from), assignee.map(i64::from)) else {
        return Ok(());
    };
    conversation.assignee = match assignee {
        Some(user) => Some(check_member(write, user).await?),
        None => None,
    };
    conversation.row.assignee_id = assignee;
    changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, vec![change.clone()]);
    changed_with(&mut write.set, conversation, EventKind::AssigneeChanged, vec![change]);
    let name = write.caller.actor(write.account().id).name;
    let line = match &conversation.assignee {
        Some(agent) if write.caller.user_id() == Some(agent.user.id) => format!("{name} self-assigned this conversation"),
        Some(agent) => format!("Assigned to {} by {name}", agent.user.name),
        None => format!("Conversation unassigned by {name}"),
    };
    add_activity(&mut write.set, conversation, line);
    Ok(())
}

/// Assigns an open conversation to the next member of its inbox who is online. Does nothing if a member of the inbox is already assigned,
/// if no eligible member is online, or if automatic assignment is disabled for the inbox or the conversation's team.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if a query fails.
pub(crate) async fn assign_automatically(write: &mut Write, conversation: &mut Conversation) -> Result<()> {
    let row = &conversation.row;
    if row.status != ConversationStatus::Open || !conversation.inbox.row.enable_auto_assignment {
        return Ok(());
    }
    let members = members(write, row.inbox_id).await?;
    if row.assignee_id.is_some_and(|assignee| members.contains(&assignee)) {
        return Ok(());
    }
    let (inbox, team) = (row.inbox_id, conversation.team.clone());
    let able = match team {
        Some(team) => of_team(write, &team, members).await?,
        None => members,
    };
    if let Some(agent) = next(write, inbox, able).await? {
        give(write, conversation, agent);
    }
    Ok(())
}

/// Returns those of `users` who also belong to the team, or an empty list if automatic assignment is disabled for the team.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub(crate) async fn of_team(write: &Write, team: &team::Model, mut users: Vec<UserId>) -> Result<Vec<UserId>> {
    if !team.allow_auto_assign {
        return Ok(Vec::new());
    }
    let team = team_members::members(&write.txn, write.account().id, team.id).await?;
    users.retain(|user| team.contains(user));
    Ok(users)
}

/// Assigns a conversation to an agent and adds the events. Adds no activity message, because the assignment is automatic.
pub(crate) fn give(write: &mut Write, conversation: &mut Conversation, agent: Arc<Agent>) {
    let before = conversation.row.assignee_id.map(i64::from);
    let Some(change) = Change::new("assignee_id", before, agent.user.id.0) else {
        return;
    };
    conversation.row.assignee_id = Some(agent.user.id);
    conversation.assignee = Some(agent);
    let set = &mut write.set;
    changed_with(set, conversation, EventKind::ConversationUpdated, vec![change.clone()]);
    changed_with(set, conversation, EventKind::AssigneeChanged, vec![change]);
}

/// Returns the ids of an inbox's members.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub(crate) async fn members(write: &Write, inbox: InboxId) -> Result<Vec<UserId>> {
    let members = inbox_member::Entity::find()
        .select_only()
        .column(inbox_member::Column::UserId)
        .filter(inbox_member::Column::AccountId.eq(write.account().id))
        .filter(inbox_member::Column::InboxId.eq(inbox));
    Ok(members.into_tuple().all(&write.txn).await?)
}

/// Returns the user among `users` who is online and was chosen in this inbox the longest ago, and records that the user was chosen now.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if a query fails.
pub(crate) async fn next(write: &Write, inbox: InboxId, users: Vec<UserId>) -> Result<Option<Arc<Agent>>> {
    use assignment_turn::Column;
    let account = write.account().id;
    let agents = load::agents(&write.txn, account, users.into_iter()).await?;
    let now = write.set.at;
    let there = agents.into_values().filter(|agent| agent.availability(now) == Availability::Online);
    let mut there: Vec<_> = there.map(|agent| (0, agent)).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let turns = assignment_turn::Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::InboxId.eq(inbox))
        .all(&write.txn)
        .await?;
    for (turn, agent) in &mut there {
        let last = turns.iter().find(|row| row.user_id == agent.user.id);
        *turn = last.map_or(0, |row| row.turn.0);
    }
    let first = there
        .into_iter()
        .min_by_key(|(turn, agent)| (*turn, agent.membership.created_at, agent.user.id));
    let Some((_, agent)) = first else { return Ok(None) };
    let row = assignment_turn::ActiveModel {
        account_id: Set(account),
        inbox_id: Set(inbox),
        user_id: Set(agent.user.id),
        turn: Set(write.set.next_seq()),
    };
    assignment_turn::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::AccountId, Column::InboxId, Column::UserId])
                .update_column(Column::Turn)
                .to_owned(),
        )
        .exec_without_returning(&write.txn)
        .await?;
    Ok(Some(agent))
}

/// Assigns agents to conversations that were opened or reopened by a message.
pub(crate) fn assign_opened(write: &mut Write, ids: Vec<ConversationId>) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let account = Arc::clone(write.account());
        for mut conversation in load::conversations(&write.txn, &account, &ids).await? {
            let before = write.set.next_seq();
            assign_automatically(write, &mut conversation).await?;
            if write.set.next_seq() != before {
                save(write, &mut conversation).await?;
            }
        }
        Ok::<_, Error>(())
    })
}
