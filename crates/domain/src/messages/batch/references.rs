//! Lookups for new messages: the existing messages that they reply to, and the unique source ids that are already taken.

use std::collections::HashMap;

use parley_storage::entity::message;
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, ConversationId, InboxId, MessageId},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};
use serde_json::{Value as Json, json};

use crate::messages::new_message::NewMessage;

/// The conversation and the source id of a message that a new message replies to.
pub type RepliedTo = (ConversationId, Option<String>);

/// Loads the messages with these ids, which new messages reply to.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn replied_to(db: &impl ConnectionTrait, account: AccountId, ids: Vec<i64>) -> Result<HashMap<MessageId, RepliedTo>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(MessageId, ConversationId, Option<String>)> = message::Entity::find()
        .select_only()
        .columns([message::Column::Id, message::Column::ConversationId, message::Column::SourceId])
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::Id.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, conversation, source)| (id, (conversation, source)))
        .collect())
}

/// Loads the messages that already have one of these unique source ids.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn taken_source_ids(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: Vec<String>,
) -> Result<HashMap<(InboxId, String), MessageId>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(InboxId, String, MessageId)> = message::Entity::find()
        .select_only()
        .columns([message::Column::InboxId, message::Column::UniqueSourceId, message::Column::Id])
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::UniqueSourceId.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|(inbox, source, id)| ((inbox, source), id)).collect())
}

/// Completes the attributes of a reply. If the message that it replies to is in the same conversation, the source id of that message is
/// added; otherwise the reference becomes null, as in Chatwoot.
pub fn resolve_reply(new: &mut NewMessage, conversation: ConversationId, replied_to: &HashMap<MessageId, RepliedTo>) {
    let Json::Object(attributes) = &mut new.content_attributes else {
        return;
    };
    let Some(wanted) = attributes.get("in_reply_to") else { return };
    let found = reply_id(wanted).and_then(|id| {
        replied_to
            .get(&id)
            .filter(|(of, _)| *of == conversation)
            .map(|(_, source)| (id, source))
    });
    let (id, source) = found.map_or((Json::Null, Json::Null), |(id, source)| (json!(id.0), json!(source)));
    attributes.insert("in_reply_to".to_owned(), id);
    attributes.insert("in_reply_to_external_id".to_owned(), source);
}

/// Parses the message id in a value of `in_reply_to`.
pub fn reply_id(value: &Json) -> Option<MessageId> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).map(MessageId)
}

/// Returns the error for a unique source id that another message already has. `nth` is the message's position in the request, and `count`
/// is the number of messages in it.
pub fn source_id_taken(nth: usize, count: usize, existing: MessageId) -> Error {
    let field = if count == 1 {
        "message.source_id".to_owned()
    } else {
        format!("messages[{nth}].message.source_id")
    };
    let violation = FieldViolation::new(field, Rule::Taken, "is the source_id of another message in this inbox");
    Error::Taken {
        violations: vec![violation],
        kind: "message",
        existing_id: Some(existing.0),
    }
}
