//! Records when agents or the contact viewed a conversation. A view by the contact also marks messages as read.

use crate::messages::rules::changed_with;
use crate::write::Write;
use parley_eventlog::kind::EventKind;
use parley_eventlog::pending_event::Change;
use parley_eventlog::pending_event::PendingEvent;
use parley_eventlog::pending_event::Subject;
use parley_fault::Protection;
use parley_storage::entity::kind::MessageStatus;
use parley_storage::entity::kind::MessageType;
use parley_storage::entity::message;
use parley_storage::joined::Conversation;
use parley_storage::load;
use parley_types::error::Result;
use parley_types::id::Seq;
use sea_orm::ColumnTrait;
use sea_orm::EntityTrait;
use sea_orm::{
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{CaseStatement, Expr, ExprTrait as _},
};
use std::sync::Arc;

/// The maximum number of messages that one view by the contact marks as read, newest first. Older messages are assumed to have been seen
/// earlier.
const READ_AT_ONCE: u64 = 1000;

/// Records that an agent or the contact viewed the conversation.
///
/// A view by an agent never changes `updated_at`, and it writes nothing if nothing is unread: a dashboard reports a view after every event
/// in the conversation that it displays, so if each view caused another event, the cycle would never end. For the assignee, messages are
/// unread if they arrived after the assignee's own last view, even if other agents have viewed the conversation since.
pub(crate) fn seen(write: &mut Write, conversation: &mut Conversation, by_contact: bool) {
    let at = Some(write.set.at);
    let row = &mut conversation.row;
    if by_contact {
        let change = Change::time("contact_last_seen_at", row.contact_last_seen_at, at);
        row.contact_last_seen_at = at;
        changed_with(
            &mut write.set,
            conversation,
            EventKind::ConversationRead,
            change.into_iter().collect(),
        );
        return;
    }
    let is_assignee = row.assignee_id.is_some() && row.assignee_id == write.caller.user_id();
    let unread_by_assignee = is_assignee && row.last_incoming_at > row.assignee_last_seen_at;
    if row.unread_count == 0 && !unread_by_assignee && parley_fault::is_on(Protection::SilentViews) {
        return;
    }
    let mut changes: Vec<Change> = Change::time("agent_last_seen_at", row.agent_last_seen_at, at).into_iter().collect();
    row.agent_last_seen_at = at;
    row.unread_count = 0;
    if is_assignee {
        changes.extend(Change::time("assignee_last_seen_at", row.assignee_last_seen_at, at));
        row.assignee_last_seen_at = at;
    }
    row.version = write.set.next_seq();
    write.set.emit(PendingEvent {
        kind: EventKind::ConversationRead,
        subject: Subject::Conversation(conversation.clone()),
        changes,
    });
}

/// Marks messages as read, because the contact viewed the conversation. Affects messages that the contact did not send and whose status is
/// sent or delivered. As in Chatwoot, this includes private notes and activity messages. Adds an event for each message.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a statement fails.
pub async fn mark_read(write: &mut Write, conversation: &mut Conversation) -> Result<()> {
    use message::Column;
    let account = write.account().id;
    let mut rows = message::Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::ConversationId.eq(conversation.row.id))
        .filter(Column::MessageType.ne(MessageType::Incoming))
        .filter(Column::Status.is_in([MessageStatus::Sent, MessageStatus::Delivered]))
        .order_by_desc(Column::Id)
        .limit(READ_AT_ONCE)
        .all(&write.txn)
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    rows.reverse();
    let first = write.set.next_seq();
    let mut versions = CaseStatement::new();
    let mut reported = Vec::with_capacity(rows.len());
    for (row, nth) in rows.iter_mut().zip(0..) {
        reported.push(Change::new("status", row.status.name(), MessageStatus::Read.name()));
        row.status = MessageStatus::Read;
        row.updated_at = write.set.at;
        row.version = Seq(first.0 + nth);
        versions = versions.case(Expr::col(Column::Id).eq(row.id.0), Expr::value(row.version.0));
    }
    message::Entity::update_many()
        .col_expr(Column::Status, Expr::value(MessageStatus::Read as i16))
        .col_expr(Column::UpdatedAt, Expr::value(write.set.at.0))
        .col_expr(Column::Version, versions.into())
        .filter(Column::AccountId.eq(account))
        .filter(Column::Id.is_in(rows.iter().map(|row| row.id.0)))
        .exec(&write.txn)
        .await?;
    let messages = load::with_senders(&write.txn, account, rows).await?;
    for (message, change) in messages.into_iter().zip(reported) {
        let message = Arc::new(message);
        let newest = conversation.row.last_public_message_id == Some(message.row.id);
        if newest {
            // The event contains this message as its subject, so its copy of the conversation must not contain the message again.
            conversation.last_public = None;
        }
        write.set.emit(PendingEvent {
            kind: EventKind::MessageUpdated,
            subject: Subject::Message(Arc::clone(&message), conversation.clone()),
            changes: change.into_iter().collect(),
        });
        if newest {
            conversation.last_public = Some(message);
        }
    }
    Ok(())
}
