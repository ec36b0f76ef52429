//! Loads rows together with their related rows. The number of SQL statements does not depend on the number of rows.

mod conversations;
mod opened;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use parley_types::{
    error::{Error, Result},
    id::{AccountId, AgentBotId, ContactId, InboxId, TeamId, UserId},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Asterisk, Expr, Order, Query},
};

use crate::{
    dialect::Dialect,
    entity::{
        account, agent_bot, api_channel, contact, contact_inbox, former_member, inbox,
        kind::{AccountStatus, LabelTarget, PresenceKind},
        labeling, membership, team, user,
    },
    joined::{Agent, Contact, ContactSessions, Inbox, Session},
    present,
};

pub use conversations::{conversation, conversations, messages_within, summaries, summary, with_senders};
pub use opened::{opened_contacts, unopened_sessions};

fn unique<T: Eq + Hash>(ids: impl Iterator<Item = T>) -> Vec<T> {
    ids.collect::<HashSet<_>>().into_iter().collect()
}

/// Loads an account.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account does not exist or is being deleted, and [`Error::Database`] if the query fails.
pub async fn account(db: &impl ConnectionTrait, id: AccountId) -> Result<Arc<account::Model>> {
    let row = account::Entity::find_by_id(id).one(db).await?;
    // Treat a deleted account as nonexistent, although its rows still exist until they are removed in the background.
    row.filter(|row| row.status != AccountStatus::Deleted)
        .map(Arc::new)
        .ok_or_else(|| Error::not_found("account", id))
}

/// Loads users by id.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn users(db: &impl ConnectionTrait, ids: impl Iterator<Item = UserId>) -> Result<HashMap<UserId, Arc<user::Model>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = user::Entity::find()
        .filter(user::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, Arc::new(row))).collect())
}

/// Loads users by id, as the account is allowed to see them: members with the names that the account uses for them, and former members with
/// the names that the account last knew.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn people(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = UserId>,
) -> Result<HashMap<UserId, Arc<user::Model>>> {
    let mut users = users(db, ids).await?;
    if users.is_empty() {
        return Ok(users);
    }
    let memberships = membership::Entity::find()
        .filter(membership::Column::AccountId.eq(account))
        .filter(membership::Column::UserId.is_in(users.keys().map(|id| id.0)))
        .all(db)
        .await?;
    if memberships.len() < users.len() {
        let former = former_member::Entity::find()
            .filter(former_member::Column::AccountId.eq(account))
            .filter(former_member::Column::UserId.is_in(users.keys().map(|id| id.0)))
            .all(db)
            .await?;
        for row in former {
            if let Some(user) = users.get_mut(&row.user_id) {
                *user = row.view_of(user);
            }
        }
    }
    // If a former member was added to the account again, the current membership takes precedence.
    for row in memberships {
        if let Some(user) = users.get_mut(&row.user_id) {
            *user = row.view_of(user);
        }
    }
    Ok(users)
}

/// Loads agent bots by id, limited to the bots that the account can use: its own bots and the bots of the installation.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn agent_bots(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = AgentBotId>,
) -> Result<HashMap<AgentBotId, Arc<agent_bot::Model>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let usable = Condition::any()
        .add(agent_bot::Column::AccountId.is_null())
        .add(agent_bot::Column::AccountId.eq(account));
    let rows = agent_bot::Entity::find()
        .filter(agent_bot::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .filter(usable)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, Arc::new(row))).collect())
}

/// Loads an agent bot that the account can use.
///
/// # Errors
/// Returns [`Error::NotFound`] if there is no such bot, and [`Error::Database`] if the query fails.
pub async fn agent_bot(db: &impl ConnectionTrait, account: AccountId, id: AgentBotId) -> Result<Arc<agent_bot::Model>> {
    agent_bots(db, account, [id].into_iter())
        .await?
        .remove(&id)
        .ok_or_else(|| Error::not_found("agent_bot", id))
}

/// Loads members of an account by user id.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn agents(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = UserId>,
) -> Result<HashMap<UserId, Arc<Agent>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let memberships = membership::Entity::find()
        .filter(membership::Column::AccountId.eq(account))
        .filter(membership::Column::UserId.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    let users = users(db, memberships.iter().map(|row| row.user_id)).await?;
    let seen = present::seen(db, account, PresenceKind::User, users.keys().map(|id| id.0)).await?;
    let agent = |membership: membership::Model| {
        let user = membership.view_of(users.get(&membership.user_id)?);
        let seen_at = seen.get(&membership.user_id.0).copied();
        Some((membership.user_id, Arc::new(Agent { user, membership, seen_at })))
    };
    Ok(memberships.into_iter().filter_map(agent).collect())
}

/// Loads teams of an account by id.
async fn teams(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = TeamId>,
) -> Result<HashMap<TeamId, Arc<team::Model>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = team::Entity::find()
        .filter(team::Column::AccountId.eq(account))
        .filter(team::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, Arc::new(row))).collect())
}

/// Loads inboxes by id.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn inboxes(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = InboxId>,
) -> Result<HashMap<InboxId, Arc<Inbox>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(account))
        .filter(inbox::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    let inboxes = with_channels(db, rows).await?;
    Ok(inboxes.into_iter().map(|inbox| (inbox.row.id, Arc::new(inbox))).collect())
}

/// Loads the channels of inboxes, in the order of the given rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn with_channels(db: &impl ConnectionTrait, rows: Vec<inbox::Model>) -> Result<Vec<Inbox>> {
    let ids = rows.iter().map(|row| row.channel_id.0);
    let channels = api_channel::Entity::find()
        .filter(api_channel::Column::Id.is_in(ids))
        .all(db)
        .await?;
    let mut channels: HashMap<_, _> = channels.into_iter().map(|row| (row.id, row)).collect();
    let with = |row: inbox::Model| {
        Some(Inbox {
            channel: channels.remove(&row.channel_id)?,
            row,
        })
    };
    Ok(rows.into_iter().filter_map(with).collect())
}

/// Loads one inbox.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account has no such inbox, and [`Error::Database`] if a query fails.
pub async fn inbox(db: &impl ConnectionTrait, account: AccountId, id: InboxId) -> Result<Arc<Inbox>> {
    inboxes(db, account, [id].into_iter())
        .await?
        .remove(&id)
        .ok_or_else(|| Error::not_found("inbox", id))
}

/// Loads the labels of conversations or contacts by the ids of the conversations or contacts, in the order in which the labels were set.
async fn labels(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: LabelTarget,
    ids: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, Vec<String>>> {
    let rows = labeling::Entity::find()
        .filter(labeling::Column::AccountId.eq(account))
        .filter(labeling::Column::SubjectKind.eq(kind))
        .filter(labeling::Column::SubjectId.is_in(ids))
        .order_by_asc(labeling::Column::Position)
        .all(db)
        .await?;
    let mut labels: HashMap<i64, Vec<String>> = HashMap::new();
    for row in rows {
        labels.entry(row.subject_id).or_default().push(row.name);
    }
    Ok(labels)
}

/// Loads the labels and the presence of contacts, in the order of the given rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn with_labels(db: &impl ConnectionTrait, account: AccountId, rows: Vec<contact::Model>) -> Result<Vec<Contact>> {
    let mut labels = labels(db, account, LabelTarget::Contact, rows.iter().map(|row| row.id.0)).await?;
    let seen = present::seen(db, account, PresenceKind::Contact, rows.iter().map(|row| row.id.0)).await?;
    Ok(rows
        .into_iter()
        .map(|row| Contact {
            labels: labels.remove(&row.id.0).unwrap_or_default(),
            seen_at: seen.get(&row.id.0).copied(),
            row,
        })
        .collect())
}

/// Loads contacts by id.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn contacts(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = ContactId>,
) -> Result<HashMap<ContactId, Arc<Contact>>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = contact::Entity::find()
        .filter(contact::Column::AccountId.eq(account))
        .filter(contact::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    Ok(with_labels(db, account, rows)
        .await?
        .into_iter()
        .map(|contact| (contact.row.id, Arc::new(contact)))
        .collect())
}

/// Loads one contact.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account has no such contact, and [`Error::Database`] if a query fails.
pub async fn contact(db: &impl ConnectionTrait, account: AccountId, id: ContactId) -> Result<Arc<Contact>> {
    contacts(db, account, [id].into_iter())
        .await?
        .remove(&id)
        .ok_or_else(|| Error::not_found("contact", id))
}

/// Loads the inboxes of sessions, in the order of the given rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn with_inboxes(db: &impl ConnectionTrait, account: AccountId, rows: Vec<contact_inbox::Model>) -> Result<Vec<Session>> {
    let inboxes = inboxes(db, account, rows.iter().map(|row| row.inbox_id)).await?;
    let with = |row: contact_inbox::Model| {
        Some(Session {
            inbox: Arc::clone(inboxes.get(&row.inbox_id)?),
            row,
        })
    };
    Ok(rows.into_iter().filter_map(with).collect())
}

/// Maximum number of sessions that are loaded with a contact, newest first. There must be a limit, because anyone who knows a contact's
/// address can open more sessions for the contact.
const SESSIONS_OF_A_CONTACT: i64 = 100;

/// Loads contacts with their newest sessions, in the order of `contacts`. The sessions of each contact are in ascending order of creation.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn with_sessions(db: &impl ConnectionTrait, account: AccountId, contacts: Vec<Contact>) -> Result<Vec<ContactSessions>> {
    let numbered = contact_inbox::Entity::find()
        .expr_as(Expr::cust("ROW_NUMBER() OVER (PARTITION BY contact_id ORDER BY id DESC)"), "nth")
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::ContactId.is_in(contacts.iter().map(|contact| contact.row.id.0)))
        .into_query();
    let newest = Query::select()
        .column(Asterisk)
        .from_subquery(numbered, "numbered")
        // Read one more session than is returned, to find out whether there are more.
        .and_where(Expr::cust("nth").lte(SESSIONS_OF_A_CONTACT + 1))
        .order_by("id", Order::Asc)
        .take();
    let statement = Dialect::of(db).build(&newest);
    let rows = contact_inbox::Model::find_by_statement(statement).all(db).await?;
    let mut sessions: HashMap<ContactId, Vec<Session>> = HashMap::new();
    for session in with_inboxes(db, account, rows).await? {
        sessions.entry(session.row.contact_id).or_default().push(session);
    }
    let with = |contact: Contact| {
        let mut sessions = sessions.remove(&contact.row.id).unwrap_or_default();
        let more_sessions = i64::try_from(sessions.len()).is_ok_and(|count| count > SESSIONS_OF_A_CONTACT);
        if more_sessions {
            sessions.remove(0);
        }
        ContactSessions {
            contact,
            sessions,
            more_sessions,
        }
    };
    Ok(contacts.into_iter().map(with).collect())
}
