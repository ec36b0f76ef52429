//! Marks conversations as unread or muted, and deletes them.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        conversation,
        kind::{ConversationStatus, MessageType},
        message,
    },
    joined::Conversation,
    load,
};
use parley_types::{error::Result, id::ConversationId};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    sea_query::{Expr, Query},
};

use crate::{
    conversations::{Conversations, status},
    inboxes::delete_conversations,
    messages::rules::{add_activity, changed_with},
    write::{
        Write,
        call::{Answer, Call},
    },
};

impl Conversations {
    /// Deletes a conversation with its messages.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotFound`] if the conversation does not exist; [`parley_types::error::Error::Denied`] for agents.
    pub async fn delete(&self, call: Call<()>, id: ConversationId) -> Result<Answer<()>> {
        call.caller.write_access(call.account)?;
        let caller = Arc::clone(&call.caller);
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    // Load the conversation before checking the role, so that every caller receives `NotFound` for a missing conversation.
                    let conversation = load::conversation(&write.txn, &account, id).await?;
                    caller.administer(account.id)?;
                    let mut ids = Query::select();
                    ids.column(conversation::Column::Id)
                        .from(conversation::Entity)
                        .and_where(Expr::col(conversation::Column::AccountId).eq(account.id.0))
                        .and_where(Expr::col(conversation::Column::Id).eq(id.0));
                    delete_conversations(&write.txn, account.id, ids).await?;
                    let subject = Subject::Conversation(conversation);
                    write.set.emit(PendingEvent::new(EventKind::ConversationDeleted, subject));
                    Ok(())
                })
            })
            .await
    }
}

/// Marks a conversation as unread: as if every agent had last viewed it one second before the newest incoming message.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if the query fails.
pub(crate) async fn unread(write: &mut Write, conversation: &mut Conversation) -> Result<()> {
    let row = &mut conversation.row;
    let at = row.last_incoming_at.map(|at| at.minus(Duration::from_secs(1)));
    let before = (row.agent_last_seen_at, row.assignee_last_seen_at, row.unread_count);
    row.agent_last_seen_at = at;
    row.assignee_last_seen_at = at;
    row.unread_count = match at {
        None => 0,
        Some(at) => {
            let after = message::Entity::find()
                .filter(message::Column::AccountId.eq(row.account_id))
                .filter(message::Column::ConversationId.eq(row.id))
                .filter(message::Column::MessageType.eq(MessageType::Incoming))
                .filter(message::Column::CreatedAt.gt(at));
            i64::try_from(after.count(&write.txn).await?).unwrap_or(i64::MAX)
        }
    };
    let changes: Vec<Change> = [
        Change::time("agent_last_seen_at", before.0, at),
        Change::time("assignee_last_seen_at", before.1, at),
        Change::new("unread_count", before.2, row.unread_count),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !changes.is_empty() {
        changed_with(&mut write.set, conversation, EventKind::ConversationUpdated, changes);
    }
    Ok(())
}

/// Blocks the contact and resolves the conversation or, if the conversation is being unmuted, unblocks the contact.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a statement fails.
pub(crate) async fn mute(write: &mut Write, conversation: &mut Conversation, muted: bool) -> Result<()> {
    let resolved = muted && status::set(write, conversation, ConversationStatus::Resolved, None).await?;
    let change = Change::new("blocked", conversation.contact.row.blocked, muted);
    if let Some(change) = &change {
        let contact = Arc::make_mut(&mut conversation.contact);
        contact.row.blocked = muted;
        contact.row.updated_at = write.set.at;
        contact.row.version = write.set.next_seq();
        contact.row.clone().into_active_model().reset_all().update(&write.txn).await?;
        write.set.emit(PendingEvent {
            kind: EventKind::ContactUpdated,
            subject: Subject::Contact(Arc::clone(&conversation.contact)),
            changes: vec![change.clone()],
        });
    }
    if resolved || change.is_some() {
        let name = write.caller.actor(write.account().id).name;
        let word = if muted { "muted" } else { "unmuted" };
        add_activity(&mut write.set, conversation, format!("{name} has {word} the conversation"));
    }
    Ok(())
}
