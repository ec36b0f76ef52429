//! What a lane keeps at hand: counters, conversations and contacts as they stood at the head of their account's log.
//!
//! Every change of an account moves its head. So if the head has not moved since a row was read, the row has not either, and
//! a batch that stores its messages *on condition of the head* needs no locks and no reads before. Users stand outside of
//! accounts; a user that changes moves the head of each of its accounts (`agent.updated`) for this very reason.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use parley_eventlog::draft::{Draft, Subject};
use parley_storage::{
    entity::{account, account_log, conversation},
    joined::{Contact, Conversation},
};
use parley_types::{
    id::{AccountId, ContactId, ConversationId},
    time::Micros,
};

use super::flood::Flood;

/// Accounts whose counters a lane keeps. Checked when it is compiled.
const ACCOUNTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// An account's counters.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// The account.
    pub account: Arc<account::Model>,
    /// Its counters after our last write or look.
    pub counters: account_log::Model,
    /// Another replica writes to it too, so that counting on the head is in vain.
    pub contended: bool,
}

/// A conversation at hand.
#[derive(Clone, Debug)]
pub struct CachedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// Its messages of the last minute.
    pub flood: Flood,
}

/// Bounded; the least recently used go first.
#[derive(Debug)]
pub struct Cache {
    accounts: LruCache<AccountId, AccountState>,
    conversations: LruCache<(AccountId, ConversationId), CachedConversation>,
    contacts: LruCache<(AccountId, ContactId), Arc<Contact>>,
    /// What was known of conversations that others changed meanwhile.
    floods: LruCache<(AccountId, ConversationId), Flooded>,
}

/// How busy a conversation was when its row was current last.
#[derive(Debug)]
struct Flooded {
    flood: Flood,
    messages: i64,
    at: Micros,
}

/// For this long what was known of a conversation's last minute serves, with what came since counted by the number in its row: an error of
/// as much at most.
const MOMENT: Duration = Duration::from_secs(2);

impl Cache {
    /// Room for this many conversations.
    pub fn new(conversations: usize) -> Self {
        let room = NonZeroUsize::new(conversations).unwrap_or(NonZeroUsize::MIN);
        Self {
            accounts: LruCache::new(ACCOUNTS),
            conversations: LruCache::new(room),
            contacts: LruCache::new(room),
            floods: LruCache::new(room),
        }
    }

    /// The account's counters.
    pub fn account(&mut self, id: AccountId) -> Option<&mut AccountState> {
        self.accounts.get_mut(&id)
    }

    /// Keeps an account's counters. What was kept of an account that falls out for it is forgotten.
    pub fn put_account(&mut self, counted: AccountState) {
        let id = counted.account.id;
        if let Some((fallen, _)) = self.accounts.push(id, counted)
            && fallen != id
        {
            self.forget_rows(fallen);
        }
    }

    /// A conversation, with its contact as it stands now; none unless both are at hand.
    pub fn conversation(&mut self, account: AccountId, id: ConversationId) -> Option<CachedConversation> {
        let known = self.conversations.get_mut(&(account, id))?;
        let contact = self.contacts.get(&(account, known.conversation.row.contact_id));
        let Some(contact) = contact else {
            self.conversations.pop(&(account, id));
            return None;
        };
        known.conversation.contact = Arc::clone(contact);
        Some(known.clone())
    }

    /// Keeps a conversation and its contact.
    pub fn put_conversation(&mut self, known: CachedConversation) {
        let row = &known.conversation.row;
        self.contacts
            .put((row.account_id, row.contact_id), Arc::clone(&known.conversation.contact));
        self.conversations.put((row.account_id, row.id), known);
    }

    /// Forgets what these events changed.
    pub fn forget_changed(&mut self, account: AccountId, drafts: &[Draft]) {
        for draft in drafts {
            match &draft.subject {
                Subject::Message(_, conversation) | Subject::Conversation(conversation) => {
                    self.conversations.pop(&(account, conversation.row.id));
                    self.contacts.pop(&(account, conversation.row.contact_id));
                }
                // Its conversations go with it: they are at hand only together.
                Subject::Contact(contact) => drop(self.contacts.pop(&(account, contact.row.id))),
                Subject::ContactSessions(contact) => drop(self.contacts.pop(&(account, contact.contact.row.id))),
                // Nothing of it is at hand.
                Subject::Definition(_) | Subject::CannedResponse(_) | Subject::Note(_) => {}
                // Any number of them have it.
                Subject::Team(_) | Subject::Label(_) | Subject::Inbox(_) | Subject::Account | Subject::Agent(_) | Subject::AgentBot(_) => {
                    return self.forget(account);
                }
            }
        }
    }

    /// Forgets what others changed: the conversation and the contact of each of their events. None has neither, so that any number of rows
    /// may have changed: then everything is forgotten.
    pub fn forget_seen(&mut self, account: AccountId, seen: &[(Option<ConversationId>, Option<ContactId>)]) {
        let Some(at) = self.accounts.peek(&account).map(|counted| counted.counters.last_occurred_at) else {
            return self.forget(account);
        };
        for (conversation, contact) in seen {
            if conversation.is_none() && contact.is_none() {
                return self.forget(account);
            }
            if let Some(id) = conversation
                && let Some(known) = self.conversations.pop(&(account, *id))
            {
                let flooded = Flooded {
                    flood: known.flood,
                    messages: known.conversation.row.message_count,
                    at,
                };
                self.floods.put((account, *id), flooded);
            }
            if let Some(id) = contact {
                self.contacts.pop(&(account, *id));
            }
        }
    }

    /// The last minute of a conversation whose row was read anew; none if too little is known of it.
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

    /// Forgets everything about an account.
    pub fn forget(&mut self, account: AccountId) {
        self.accounts.pop(&account);
        self.forget_rows(account);
    }

    fn forget_rows(&mut self, account: AccountId) {
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
