//! The conversations and contacts that a writer shard caches, as of the head of their account's log.
//!
//! Cached rows stay current because every change to an account's rows advances its head and appends an event that names the changed rows:
//! see `write/account_cache.rs`. Users do not belong to an account, so a change to a user advances the head of each of its accounts
//! (`agent.updated`).

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use parley_eventlog::pending_event::{PendingEvent, Subject};
use parley_storage::{
    entity::conversation,
    joined::{Contact, Conversation},
};
use parley_types::{
    id::{AccountId, ContactId, ConversationId},
    time::Micros,
};

use super::flood::Flood;
use crate::write::planner::{ChangedRows, Eviction};

/// A conversation with its contact and its recent message counts.
#[derive(Clone, Debug)]
pub struct CachedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// The number of messages in the conversation in each second of the last minute, for the flood limit.
    pub flood: Flood,
}

/// An LRU cache of conversations and contacts.
#[derive(Debug)]
pub struct ConversationCache {
    conversations: LruCache<(AccountId, ConversationId), CachedConversation>,
    contacts: LruCache<(AccountId, ContactId), Arc<Contact>>,
    /// The recent message counts of conversations that were evicted because another replica changed them.
    floods: LruCache<(AccountId, ConversationId), Flooded>,
}

/// The recent message counts of a conversation at the time when its cached row was last current.
#[derive(Debug)]
struct Flooded {
    flood: Flood,
    messages: i64,
    at: Micros,
}

/// How long the recent message counts of an evicted conversation remain usable. Messages added in the meantime are counted by the
/// difference in `message_count` and are assumed to be as recent as the newest one, so the window of the flood limit is off by at most this
/// time.
const MOMENT: Duration = Duration::from_secs(2);

impl ConversationCache {
    /// Creates a cache for `conversations` conversations and as many contacts, at least one of each.
    pub fn new(conversations: usize) -> Self {
        let room = NonZeroUsize::new(conversations).unwrap_or(NonZeroUsize::MIN);
        Self {
            conversations: LruCache::new(room),
            contacts: LruCache::new(room),
            floods: LruCache::new(room),
        }
    }

    /// Returns a conversation with its current contact, or `None` unless both are cached.
    pub fn get(&mut self, account: AccountId, id: ConversationId) -> Option<CachedConversation> {
        let cached = self.conversations.get_mut(&(account, id))?;
        let contact = self.contacts.get(&(account, cached.conversation.row.contact_id));
        let Some(contact) = contact else {
            self.conversations.pop(&(account, id));
            return None;
        };
        cached.conversation.contact = Arc::clone(contact);
        Some(cached.clone())
    }

    /// Caches a conversation and its contact.
    pub fn put(&mut self, cached: CachedConversation) {
        let row = &cached.conversation.row;
        self.contacts
            .put((row.account_id, row.contact_id), Arc::clone(&cached.conversation.contact));
        self.conversations.put((row.account_id, row.id), cached);
    }

    /// Evicts the rows that this shard changed, according to the events of its write.
    pub fn evict_changed(&mut self, account: AccountId, drafts: &[PendingEvent]) -> Eviction {
        for draft in drafts {
            match &draft.subject {
                Subject::Message(_, conversation) | Subject::Conversation(conversation) => {
                    self.conversations.pop(&(account, conversation.row.id));
                    self.contacts.pop(&(account, conversation.row.contact_id));
                }
                // This also evicts the contact's conversations, which count as cached only together with their contact.
                Subject::Contact(contact) => drop(self.contacts.pop(&(account, contact.row.id))),
                Subject::ContactSessions(contact) => drop(self.contacts.pop(&(account, contact.contact.row.id))),
                // Attribute definitions, canned responses and notes are not part of any cached row.
                Subject::Definition(_) | Subject::CannedResponse(_) | Subject::Note(_) => {}
                // An unbounded number of cached conversations and contacts can contain a copy of the changed row.
                Subject::Team(_) | Subject::Label(_) | Subject::Inbox(_) | Subject::Account | Subject::Agent(_) | Subject::AgentBot(_) => {
                    return Eviction::Account;
                }
            }
        }
        Eviction::Rows
    }

    /// Evicts the rows that another replica changed: the conversation and the contact named by each of its events. An event that names
    /// neither can represent a change to any number of rows, so the whole account must be evicted.
    pub fn evict_logged(&mut self, account: AccountId, changes: &[ChangedRows], cached_at: Micros) -> Eviction {
        for (conversation, contact) in changes {
            if conversation.is_none() && contact.is_none() {
                return Eviction::Account;
            }
            if let Some(id) = conversation
                && let Some(cached) = self.conversations.pop(&(account, *id))
            {
                let flooded = Flooded {
                    flood: cached.flood,
                    messages: cached.conversation.row.message_count,
                    at: cached_at,
                };
                self.floods.put((account, *id), flooded);
            }
            if let Some(id) = contact {
                self.contacts.pop(&(account, *id));
            }
        }
        Eviction::Rows
    }

    /// Returns the recent message counts that were kept for an evicted conversation, brought up to date from its newly read row. Returns
    /// `None` if the messages must be counted in the database instead.
    pub fn flood(&mut self, row: &conversation::Model) -> Option<Flood> {
        let Flooded { mut flood, messages, at } = self.floods.pop(&(row.account_id, row.id))?;
        if at < row.last_activity_at.minus(MOMENT) {
            return None;
        }
        flood.add(
            row.last_activity_at,
            u32::try_from(row.message_count - messages).unwrap_or_default(),
        );
        Some(flood)
    }

    /// Evicts all rows of an account.
    pub fn evict_account(&mut self, account: AccountId) {
        let stale: Vec<_> = self
            .conversations
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| key.0 == account)
            .collect();
        for key in stale {
            self.conversations.pop(&key);
        }
        let stale: Vec<_> = self.contacts.iter().map(|(key, _)| *key).filter(|key| key.0 == account).collect();
        for key in stale {
            self.contacts.pop(&key);
        }
    }
}
