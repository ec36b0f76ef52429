//! Cached conversations and contacts of a writer shard, as of the head of their account's log.
//!
//! They stay current because every change of an account's rows moves its head and leaves an event that names what changed: see
//! `write/account_cache.rs`. Users are not part of an account, so a change of a user moves the head of each of its accounts (`agent.updated`).

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

/// A conversation with its contact and its recent messages.
#[derive(Clone, Debug)]
pub struct CachedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// How many messages it had within the last minute.
    pub flood: Flood,
}

/// The least recently used rows are evicted first.
#[derive(Debug)]
pub struct ConversationCache {
    conversations: LruCache<(AccountId, ConversationId), CachedConversation>,
    contacts: LruCache<(AccountId, ContactId), Arc<Contact>>,
    /// The recent messages of conversations that another replica changed.
    floods: LruCache<(AccountId, ConversationId), Flooded>,
}

/// How busy a conversation was when its cached row was last current.
#[derive(Debug)]
struct Flooded {
    flood: Flood,
    messages: i64,
    at: Micros,
}

/// How long the recent messages of an evicted conversation may be used. Messages that came since are counted by the number in its row and taken to
/// be as new as the newest, so the error of the flood limit's window is at most this.
const MOMENT: Duration = Duration::from_secs(2);

impl ConversationCache {
    /// Room for this many conversations, and at least one.
    pub fn new(conversations: usize) -> Self {
        let room = NonZeroUsize::new(conversations).unwrap_or(NonZeroUsize::MIN);
        Self {
            conversations: LruCache::new(room),
            contacts: LruCache::new(room),
            floods: LruCache::new(room),
        }
    }

    /// A conversation with its current contact; `None` unless both are cached.
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

    /// Evicts the rows that these events changed.
    pub fn evict_changed(&mut self, account: AccountId, drafts: &[PendingEvent]) -> Eviction {
        for draft in drafts {
            match &draft.subject {
                Subject::Message(_, conversation) | Subject::Conversation(conversation) => {
                    self.conversations.pop(&(account, conversation.row.id));
                    self.contacts.pop(&(account, conversation.row.contact_id));
                }
                // This evicts its conversations too: they count as cached only together with their contact.
                Subject::Contact(contact) => drop(self.contacts.pop(&(account, contact.row.id))),
                Subject::ContactSessions(contact) => drop(self.contacts.pop(&(account, contact.contact.row.id))),
                // Not cached.
                Subject::Definition(_) | Subject::CannedResponse(_) | Subject::Note(_) => {}
                // Any number of conversations and contacts hold it.
                Subject::Team(_) | Subject::Label(_) | Subject::Inbox(_) | Subject::Account | Subject::Agent(_) | Subject::AgentBot(_) => {
                    return Eviction::Account;
                }
            }
        }
        Eviction::Rows
    }

    /// Evicts the rows that another replica changed: the conversation and the contact of each of its events. An event with neither may stand for
    /// a change of any number of rows.
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

    /// The recent messages of a conversation whose row was read again; `None` if they have to be counted.
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
