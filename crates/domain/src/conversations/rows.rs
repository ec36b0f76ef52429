//! Stores the rows that an operation changed in a conversation, and loads the result of the operation.

use crate::auth::caller::Caller;
use crate::write::Write;
use parley_eventlog::kind::EventKind;
use parley_storage::joined::Agent;
use parley_storage::joined::Conversation;
use parley_storage::joined::ConversationSummary;
use parley_storage::joined::Message;
use parley_storage::load;
use parley_types::error::Error;
use parley_types::error::Result;
use parley_types::error::Rule;
use parley_types::id::{AccountId, ConversationId, UserId};
use sea_orm::ActiveModelTrait;
use sea_orm::IntoActiveModel;
use std::sync::Arc;

/// Stores the changed row of a conversation.
pub(crate) async fn save(write: &Write, conversation: &mut Conversation) -> Result<()> {
    conversation.row = conversation.row.clone().into_active_model().reset_all().update(&write.txn).await?;
    Ok(())
}

/// Stores the contact's row if the operation changed it: an incoming message updates the contact's time of last activity.
pub(crate) async fn save_contact(write: &Write, conversation: &Conversation) -> Result<()> {
    let moved = write.set.drafts().iter().any(|draft| draft.kind == EventKind::ContactUpdated);
    if moved {
        conversation
            .contact
            .row
            .clone()
            .into_active_model()
            .reset_all()
            .update(&write.txn)
            .await?;
    }
    Ok(())
}

/// Returns the summary of a conversation. `newest` supplies the newest message if it is not stored yet.
pub(crate) async fn summary_of(
    conversation: Conversation,
    newest: Option<&Message>,
    db: &impl sea_orm::ConnectionTrait,
) -> Result<ConversationSummary> {
    let account = Arc::clone(&conversation.account);
    let mut summary = load::summaries(db, &account, vec![conversation.row.clone()])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("conversation", conversation.row.id))?;
    let fresh = |id, stored: Option<Message>| stored.or_else(|| newest.filter(|message| Some(message.row.id) == id).cloned());
    summary.last = fresh(conversation.row.last_message_id, summary.last);
    summary.last_non_activity = fresh(conversation.row.last_non_activity_message_id, summary.last_non_activity);
    Ok(ConversationSummary { conversation, ..summary })
}

/// Returns a conversation with its newest messages, if the caller can access it.
///
/// # Errors
/// [`Error::NotMember`] if the caller has no access to the account; [`Error::NotFound`] if the conversation does not exist;
/// [`Error::Denied`] if the caller has no access to its inbox.
pub(crate) async fn read_summary(
    db: &impl sea_orm::ConnectionTrait,
    caller: &Caller,
    account: AccountId,
    id: ConversationId,
) -> Result<ConversationSummary> {
    let access = caller.access(account)?;
    let account = load::account(db, account).await?;
    let summary = load::summary(db, &account, id).await?;
    access.conversation(&summary.conversation.row)?;
    Ok(summary)
}

/// Returns the user as an agent of the account. Fails if the user is not a member: conversations can be assigned only to members.
pub(crate) async fn check_member(write: &Write, user: UserId) -> Result<Arc<Agent>> {
    let mut agents = load::agents(&write.txn, write.account().id, [user].into_iter()).await?;
    agents
        .remove(&user)
        .ok_or_else(|| Error::invalid("assignee_id", Rule::Unknown, "must be a member of the account"))
}
