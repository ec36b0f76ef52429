//! Restricts the contact data in conversations and messages for services whose tokens are limited to inboxes.

use parley_domain::{auth::caller::Caller, contacts::sessions::Sessions};
use parley_eventlog::conversion::InConversation;
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId},
};

/// Replaces each contact that the caller cannot access with the contact data that the conversation's session has submitted.
pub(super) async fn restrict_contacts<'a, T: InConversation + 'a>(
    sessions: &Sessions,
    caller: &Caller,
    account: AccountId,
    items: impl IntoIterator<Item = &'a mut T>,
) -> Result<()> {
    let items: Vec<&mut T> = items.into_iter().collect();
    let ids: Vec<i64> = items.iter().map(|item| item.conversation_id()).collect();
    let hidden = sessions.unopened(caller, account, ids.into_iter().map(ConversationId)).await?;
    for item in items {
        if let Some(session) = hidden.get(&ConversationId(item.conversation_id())) {
            item.show_submitted(session);
        }
    }
    Ok(())
}
