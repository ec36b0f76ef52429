//! Determines which contacts are visible to callers that are limited to certain inboxes.

use std::collections::{HashMap, HashSet};

use parley_fault::Protection;
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, ContactInboxId, ConversationId, InboxId},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::unique;
use crate::entity::{contact_inbox, conversation};

/// Returns those of the given contacts that are currently visible through a session in one of the inboxes.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn opened_contacts(
    db: &impl ConnectionTrait,
    account: AccountId,
    inboxes: &[InboxId],
    contacts: impl Iterator<Item = ContactId>,
) -> Result<HashSet<ContactId>> {
    let contacts = unique(contacts.map(|contact| contact.0));
    if contacts.is_empty() {
        return Ok(HashSet::new());
    }
    let found: Vec<ContactId> = contact_inbox::Entity::find()
        .select_only()
        .column(contact_inbox::Column::ContactId)
        .distinct()
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::ContactId.is_in(contacts))
        .filter(contact_inbox::Column::InboxId.is_in(inboxes.iter().map(|id| id.0)))
        .filter(contact_inbox::opens_contact())
        .into_tuple()
        .all(db)
        .await?;
    Ok(found.into_iter().collect())
}

/// Returns the sessions of those conversations whose contact is not visible through any session in the inboxes, by conversation id.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn unopened_sessions(
    db: &impl ConnectionTrait,
    account: AccountId,
    inboxes: &[InboxId],
    conversations: impl Iterator<Item = ConversationId>,
) -> Result<HashMap<ConversationId, contact_inbox::Model>> {
    let conversations = unique(conversations.map(|conversation| conversation.0));
    if conversations.is_empty() || !parley_fault::is_on(Protection::MatchedSessions) {
        return Ok(HashMap::new());
    }
    let of: Vec<(ConversationId, ContactInboxId)> = conversation::Entity::find()
        .select_only()
        .columns([conversation::Column::Id, conversation::Column::ContactInboxId])
        .filter(conversation::Column::AccountId.eq(account))
        .filter(conversation::Column::Id.is_in(conversations))
        .into_tuple()
        .all(db)
        .await?;
    let matched = contact_inbox::Entity::find()
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::Id.is_in(unique(of.iter().map(|(_, session)| session.0))))
        .filter(contact_inbox::opens_contact().not())
        .all(db)
        .await?;
    let opened = opened_contacts(db, account, inboxes, matched.iter().map(|session| session.contact_id)).await?;
    let unopened: HashMap<ContactInboxId, contact_inbox::Model> = matched
        .into_iter()
        .filter(|session| !opened.contains(&session.contact_id))
        .map(|session| (session.id, session))
        .collect();
    Ok(of
        .into_iter()
        .filter_map(|(conversation, session)| Some((conversation, unopened.get(&session)?.clone())))
        .collect())
}
