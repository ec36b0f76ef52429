//! Loads messages with their senders, and conversations with their related rows.

use std::{collections::HashMap, sync::Arc};

use parley_fault::Protection;
use parley_types::{
    error::{Error, Result},
    id::{AccountId, AgentBotId, ContactId, ConversationId, MessageId, UserId},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, Order},
};

use super::{agent_bots, agents, contacts, inboxes, labels, people, teams, unique};
use crate::{
    dialect::Dialect,
    entity::{
        account, attachment, contact_inbox, conversation,
        kind::{LabelTarget, SenderType},
        message,
    },
    joined::{Conversation, ConversationSummary, Message, Sender},
    octets::{PAGE_BYTES, octets},
};

/// Loads the senders and attachments of messages, in the order of the given rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn with_senders(db: &impl ConnectionTrait, account: AccountId, rows: Vec<message::Model>) -> Result<Vec<Message>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let senders = |kind| {
        rows.iter()
            .filter(move |row| row.sender_type == Some(kind))
            .filter_map(|row| row.sender_id)
    };
    let users = people(db, account, senders(SenderType::User).map(UserId)).await?;
    let contacts = contacts(db, account, senders(SenderType::Contact).map(ContactId)).await?;
    let bots = agent_bots(db, account, senders(SenderType::AgentBot).map(AgentBotId)).await?;
    let attached = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(account))
        .filter(attachment::Column::MessageId.is_in(rows.iter().map(|row| row.id.0)))
        .order_by_asc(attachment::Column::Position)
        .order_by_asc(attachment::Column::Id)
        .all(db)
        .await?;
    let mut attachments: HashMap<MessageId, Vec<attachment::Model>> = HashMap::new();
    for row in attached {
        attachments.entry(row.message_id).or_default().push(row);
    }
    let with = |row: message::Model| {
        let sender = match (row.sender_type, row.sender_id) {
            (Some(SenderType::Contact), Some(id)) => contacts.get(&ContactId(id)).cloned().map(Sender::Contact),
            (Some(SenderType::User), Some(id)) => users.get(&UserId(id)).cloned().map(Sender::User),
            (Some(SenderType::AgentBot), Some(id)) => bots.get(&AgentBotId(id)).cloned().map(Sender::AgentBot),
            _ => None,
        };
        Message {
            attachments: attachments.remove(&row.id).unwrap_or_default(),
            row,
            sender,
            echo_id: None,
        }
    };
    Ok(rows.into_iter().map(with).collect())
}

/// Reads messages in ascending or descending order of their ids: at most `rows` messages with [`PAGE_BYTES`] in total, but at least one.
/// Also returns whether there are more messages. Their sizes are queried first, so messages that do not fit are not read.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn messages_within(
    db: &impl ConnectionTrait,
    select: Select<message::Entity>,
    descending: bool,
    rows: u64,
) -> Result<(Vec<message::Model>, bool)> {
    use message::Column;
    let order = if descending { Order::Desc } else { Order::Asc };
    let bytes = octets::<message::Entity>(Dialect::of(db), "messages");
    let sized: Vec<(i64, i64)> = select
        .clone()
        .select_only()
        .column(Column::Id)
        .expr_as(Expr::cust(format!("CAST({bytes} AS BIGINT)")), "bytes")
        .order_by(Column::Id, order.clone())
        .limit(rows + 1)
        .into_tuple()
        .all(db)
        .await?;
    let mut so_far = 0;
    let fit = sized.iter().zip(0..rows).take_while(|((_, bytes), nth)| {
        so_far += bytes;
        *nth == 0 || so_far <= PAGE_BYTES || !parley_fault::is_on(Protection::PageBytes)
    });
    let ids: Vec<i64> = fit.map(|((id, _), _)| *id).collect();
    let more = ids.len() < sized.len();
    if ids.is_empty() {
        return Ok((Vec::new(), more));
    }
    let found = select.filter(Column::Id.is_in(ids)).order_by(Column::Id, order).all(db).await?;
    Ok((found, more))
}

/// Loads messages by id, with their senders and attachments.
async fn messages(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = MessageId>,
) -> Result<HashMap<MessageId, Message>> {
    let ids = unique(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = message::Entity::find()
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::Id.is_in(ids.into_iter().map(i64::from)))
        .all(db)
        .await?;
    Ok(with_senders(db, account, rows)
        .await?
        .into_iter()
        .map(|message| (message.row.id, message))
        .collect())
}

/// Loads the related rows of conversations, and returns the conversations in the given order.
async fn around(
    db: &impl ConnectionTrait,
    account: &Arc<account::Model>,
    rows: Vec<conversation::Model>,
    messages: &HashMap<MessageId, Message>,
) -> Result<Vec<Conversation>> {
    let id = account.id;
    let sessions = contact_inbox::Entity::find()
        .filter(contact_inbox::Column::AccountId.eq(id))
        .filter(contact_inbox::Column::Id.is_in(unique(rows.iter().map(|row| row.contact_inbox_id.0))))
        .all(db);
    // Run the queries concurrently, because they do not depend on each other.
    let (inboxes, contacts, assignees, teams, mut labels, sessions) = tokio::try_join!(
        inboxes(db, id, rows.iter().map(|row| row.inbox_id)),
        contacts(db, id, rows.iter().map(|row| row.contact_id)),
        agents(db, id, rows.iter().filter_map(|row| row.assignee_id)),
        teams(db, id, rows.iter().filter_map(|row| row.team_id)),
        labels(db, id, LabelTarget::Conversation, rows.iter().map(|row| row.id.0)),
        async { sessions.await.map_err(Error::from) },
    )?;
    let sessions: HashMap<_, _> = sessions.into_iter().map(|row| (row.id, Arc::new(row))).collect();
    let with = |row: conversation::Model| {
        Some(Conversation {
            account: Arc::clone(account),
            inbox: Arc::clone(inboxes.get(&row.inbox_id)?),
            contact: Arc::clone(contacts.get(&row.contact_id)?),
            session: Arc::clone(sessions.get(&row.contact_inbox_id)?),
            assignee: row.assignee_id.and_then(|id| assignees.get(&id)).cloned(),
            team: row.team_id.and_then(|id| teams.get(&id)).cloned(),
            labels: Arc::new(labels.remove(&row.id.0).unwrap_or_default()),
            last_public: row.last_public_message_id.and_then(|id| messages.get(&id)).cloned().map(Arc::new),
            row,
        })
    };
    Ok(rows.into_iter().filter_map(with).collect())
}

/// Loads conversations by id. Ids that do not exist are skipped.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn conversations(db: &impl ConnectionTrait, account: &Arc<account::Model>, ids: &[ConversationId]) -> Result<Vec<Conversation>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = conversation::Entity::find()
        .filter(conversation::Column::AccountId.eq(account.id))
        .filter(conversation::Column::Id.is_in(ids.iter().map(|id| id.0)))
        .all(db)
        .await?;
    let messages = messages(db, account.id, rows.iter().filter_map(|row| row.last_public_message_id)).await?;
    around(db, account, rows, &messages).await
}

/// Loads one conversation.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account has no such conversation, and [`Error::Database`] if a query fails.
pub async fn conversation(db: &impl ConnectionTrait, account: &Arc<account::Model>, id: ConversationId) -> Result<Conversation> {
    conversations(db, account, &[id])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("conversation", id))
}

/// Loads the related rows and newest messages of conversations, in the order of the given rows.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn summaries(
    db: &impl ConnectionTrait,
    account: &Arc<account::Model>,
    rows: Vec<conversation::Model>,
) -> Result<Vec<ConversationSummary>> {
    let newest = |row: &conversation::Model| [row.last_message_id, row.last_non_activity_message_id, row.last_public_message_id];
    let messages = messages(db, account.id, rows.iter().flat_map(newest).flatten()).await?;
    let find = |id: Option<MessageId>| id.and_then(|id| messages.get(&id)).cloned();
    let conversations = around(db, account, rows, &messages).await?;
    let with = |conversation: Conversation| ConversationSummary {
        last: find(conversation.row.last_message_id),
        last_non_activity: find(conversation.row.last_non_activity_message_id),
        conversation,
    };
    Ok(conversations.into_iter().map(with).collect())
}

/// Loads one conversation with its newest messages.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account has no such conversation, and [`Error::Database`] if a query fails.
pub async fn summary(db: &impl ConnectionTrait, account: &Arc<account::Model>, id: ConversationId) -> Result<ConversationSummary> {
    let row = conversation::Entity::find_by_id((account.id, id)).one(db).await?;
    let row = row.ok_or_else(|| Error::not_found("conversation", id))?;
    summaries(db, account, vec![row])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("conversation", id))
}
