//! Prepares a message that an operation adds, with the same checks as for messages in a batch.

use parley_storage::joined::Conversation;
use parley_types::error::Result;

use super::{
    batch::{
        flood::{self, Flood},
        references::{replied_to, reply_id, resolve_reply, source_id_taken, taken_source_ids},
    },
    new_message::NewMessage,
};
use crate::{
    files::{
        claims::{self, Available},
        rows,
    },
    write::Write,
};

/// Prepares a message that is to be added to a conversation: checks the flood limit, claims the message's uploads, resolves the message
/// that it replies to, and checks its unique source id.
///
/// # Errors
/// [`Error::Taken`](parley_types::error::Error::Taken) if another message has the same unique source id;
/// [`Error::Flood`](parley_types::error::Error::Flood) if the conversation has reached its message rate limit;
/// [`Error::Invalid`](parley_types::error::Error::Invalid) if an upload cannot be claimed;
/// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if a query
/// fails.
pub async fn prepare_message(write: &Write, conversation: &Conversation, new: &mut NewMessage, messages_per_minute: u32) -> Result<()> {
    let (db, row) = (&write.txn, &conversation.row);
    let recent = flood::recent(db, &[row], write.set.at, messages_per_minute).await?;
    if let Some((_, count, last)) = recent.into_iter().next() {
        Flood::of(count, last).check(write.set.at, messages_per_minute)?;
    }
    let mut available = Available {
        uploads: rows::uploads(db, row.account_id, new.uploads().collect()).await?,
        ids: rows::reserve(db, new.new_rows()).await?,
    };
    claims::take(&mut available, new, row.account_id, (0, 1))?;
    let named = new.content_attributes.get("in_reply_to").and_then(reply_id);
    let found = replied_to(db, row.account_id, named.map(|id| id.0).into_iter().collect()).await?;
    resolve_reply(new, row.id, &found);
    let unique = new.source_id.clone().filter(|_| new.unique_source_id);
    let taken = taken_source_ids(db, row.account_id, unique.clone().into_iter().collect()).await?;
    if let Some(existing) = unique.and_then(|source| taken.get(&(row.inbox_id, source)).copied()) {
        return Err(source_id_taken(0, 1, existing));
    }
    Ok(())
}
