//! A plan: what a batch of new messages makes in one account. Pure; stored afterwards, or dropped without a trace.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parley_eventlog::entry::Entry;
use parley_storage::{
    entity::{account_log, attachment, contact, idempotency_key, kind::ConversationStatus, message},
    joined::{Contact, Message},
};
use parley_types::{
    attribute_limits::AttributeSize,
    error::{Error, Result, Rule, Violation},
    id::{ContactId, ConversationId, InboxId, MessageId},
};
use serde_json::{Value as Json, json};

use super::{
    WriteSet,
    cache::{AccountState, CachedConversation},
    config::{Config, Messages},
    idempotency::{self, Reply, StoredResponses},
    panic::panicked,
};
use crate::{
    files::claims::{self, Available},
    messages::{
        liquid::{Rendered, Request},
        new_message::NewMessage,
        rules,
    },
    write::{Claim, call::Answer},
};

/// Bytes of events that are encoded before other tasks of the thread get a turn: less than ten milliseconds of work.
const SLICE_BYTES: usize = 512 * 1024;

/// Bytes of attributes that the events of one call may repeat: what conversations and contacts have, for each message. A call is planned in
/// one go, because it is stored whole or not at all.
const REPEATED_BYTES: usize = 4 * 1024 * 1024;

/// What a batch needs to know of one account before it can be planned.
#[derive(Clone, Debug)]
pub struct BatchContext {
    /// The counters.
    pub counted: AccountState,
    /// The conversations that the calls name, those that exist.
    pub known: HashMap<ConversationId, CachedConversation>,
    /// Replies stored under the calls' keys, of any owner.
    pub kept: StoredResponses,
    /// The messages that the calls reply to: their conversation and source id.
    pub replied: HashMap<MessageId, (ConversationId, Option<String>)>,
    /// The unique source ids of the calls that are taken.
    pub taken: HashMap<(InboxId, String), MessageId>,
    /// The uploads that the calls name, and ids for the attachments that are stored with their messages.
    pub available: Available,
    /// Texts that were rendered for the calls.
    pub texts: Arc<Rendered>,
}

impl BatchContext {
    /// Whether a call may need a template rendered; most batches have none.
    pub fn has_templates(&self, calls: &[Messages]) -> bool {
        let mut items = calls.iter().flat_map(|call| &call.items);
        items.any(|(id, new)| {
            let known = self.known.get(id);
            known.is_some_and(|known| rules::needs_rendering(&known.conversation, new))
        })
    }
}

/// A call with its answer, which is given once the plan is stored.
pub struct Planned {
    /// The call.
    pub call: Messages,
    /// Its answer.
    pub answer: Result<Answer<Vec<Arc<Message>>>>,
}

/// What is to be stored, and what is to be answered then.
#[derive(Default)]
pub struct Plan {
    /// The counters as they are expected to stand.
    pub expected: Option<account_log::Model>,
    /// The counters after it.
    pub counters: Option<account_log::Model>,
    /// The messages.
    pub messages: Vec<message::Model>,
    /// The uploads that the messages take. Calls with any are planned under the lock only.
    pub claims: Vec<Claim>,
    /// The attachments that are stored with the messages; under the lock only, too.
    pub attachments: Vec<attachment::Model>,
    /// The events.
    pub entries: Vec<Entry>,
    /// The conversations after it.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The contacts after it.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that were opened for want of an agent.
    pub opened: Vec<ConversationId>,
    /// The answers to keep.
    pub keys: Vec<idempotency_key::Model>,
    /// The calls with their answers.
    pub planned: Vec<Planned>,
    /// Calls with a key that another call of the batch has: they come after it.
    pub later: Vec<Messages>,
    /// Templates that the calls use and that are not rendered.
    pub missing: Vec<Request>,
}

impl Plan {
    /// Plans calls in their order. Yields to the runtime between calls that make much: events repeat the attributes of their conversation and
    /// contact, so a full batch can encode far more than its messages have.
    pub async fn make(config: &Config, mut scene: BatchContext, calls: Vec<Messages>) -> (Self, AccountState) {
        let mut plan = Self {
            expected: Some(scene.counted.counters.clone()),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        let mut slice = 0;
        let mut bytes = 0;
        for call in calls {
            if bytes >= config.batch_bytes {
                plan.later.push(call);
                continue;
            }
            if slice >= SLICE_BYTES {
                slice = 0;
                tokio::task::yield_now().await;
            }
            if call.call.key.as_ref().is_some_and(|key| !seen.insert(key.request_id)) {
                plan.later.push(call);
                continue;
            }
            // A panic fails this call alone: until its ledger is closed it changes nothing of the plan, and then it cannot panic.
            let entries = plan.entries.len();
            let answer = catch_unwind(AssertUnwindSafe(|| plan.call(config, &mut scene, &call)));
            let answer = answer.unwrap_or_else(|panic| Err(panicked(&*panic)));
            let made: usize = plan.entries[entries..].iter().map(|entry| entry.payload.len()).sum();
            slice += made;
            bytes += made;
            plan.planned.push(Planned { call, answer });
        }
        plan.counters = Some(scene.counted.counters.clone());
        (plan, scene.counted)
    }

    fn call(&mut self, config: &Config, scene: &mut BatchContext, call: &Messages) -> Result<Answer<Vec<Arc<Message>>>> {
        let asked = &call.call;
        if let Some(key) = &asked.key
            && let Some(kept) = idempotency::find(key, &scene.kept)
        {
            return idempotency::repeat(key, kept);
        }
        let access = asked.caller.write_access(asked.account)?;
        parley_fault::strike("plan");
        bound_repeated(scene, call)?;
        let counted = &mut scene.counted;
        let mut ledger = WriteSet::open(
            Arc::clone(&counted.account),
            counted.counters.clone(),
            &asked.caller,
            &asked.traceparent,
        );
        ledger.set_rendered(Arc::clone(&scene.texts));
        let mut touched: HashMap<ConversationId, CachedConversation> = HashMap::new();
        let mut contacts: HashMap<ContactId, Arc<Contact>> = HashMap::new();
        let mut opened = Vec::new();
        let mut claimed: Vec<((InboxId, String), MessageId)> = Vec::new();
        let mut messages = Vec::with_capacity(call.items.len());
        for (nth, (id, new)) in call.items.iter().enumerate() {
            let mut known = match touched.remove(id).or_else(|| self.conversations.get(id).cloned()) {
                Some(known) => known,
                None => scene.known.get(id).cloned().ok_or_else(|| Error::not_found("conversation", id))?,
            };
            let contact_id = known.conversation.row.contact_id;
            if let Some(contact) = contacts.get(&contact_id).or_else(|| self.contacts.get(&contact_id)) {
                known.conversation.contact = Arc::clone(contact);
            }
            access.conversation(&known.conversation.row)?;
            known.flood.check(ledger.at, config.messages_per_minute)?;
            let mut new = new.clone();
            claims::take(&mut scene.available, &mut new, asked.account, (nth, call.items.len()))?;
            reply_to(&mut new, *id, &scene.replied);
            let unique = new
                .source_id
                .clone()
                .filter(|_| new.unique_source_id)
                .map(|source| (known.conversation.row.inbox_id, source));
            if let Some(unique) = &unique {
                let earlier = claimed.iter().find(|(key, _)| key == unique).map(|(_, id)| *id);
                if let Some(existing) = scene.taken.get(unique).copied().or(earlier) {
                    return Err(source_id_taken(nth, call.items.len(), existing));
                }
            }
            let before = known.conversation.row.message_count;
            let slept = known.conversation.row.status != ConversationStatus::Open;
            let message = rules::add_message(&mut ledger, &mut known.conversation, &asked.caller, new);
            self.missing.append(&mut ledger.take_missing());
            known.flood.add(
                ledger.at,
                u32::try_from(known.conversation.row.message_count - before).unwrap_or(u32::MAX),
            );
            if slept && rules::wants_assignment(&known.conversation) {
                opened.push(*id);
            }
            claimed.extend(unique.map(|unique| (unique, message.row.id)));
            contacts.insert(contact_id, Arc::clone(&known.conversation.contact));
            touched.insert(*id, known);
            messages.push(message);
        }
        let (cursor, at) = (ledger.cursor(), ledger.at);
        let entered = ledger.close();
        if let Some(key) = &asked.key {
            let contact = idempotency::contact(&messages, &entered.entries);
            let reply = Reply::new(&messages, Some(cursor), at, contact);
            self.keys.push(idempotency::row(asked.account, key, &scene.kept, &reply));
        }
        scene.counted.counters = entered.counters;
        scene.taken.extend(claimed);
        self.opened.extend(opened);
        self.messages.extend(entered.messages);
        self.claims.extend(entered.claims);
        self.attachments.extend(entered.attachments);
        self.entries.extend(entered.entries);
        self.conversations.extend(touched);
        self.contacts.extend(contacts);
        Ok(Answer::Fresh(messages, Some(cursor)))
    }

    /// The contacts that changed: most outgoing messages leave theirs alone.
    pub fn changed_contacts(&self) -> impl Iterator<Item = &contact::Model> {
        let head = self.expected.as_ref().map(|counters| counters.head_seq).unwrap_or_default();
        let rows = self.contacts.values().map(|contact| &contact.row);
        rows.filter(move |row| row.version > head)
    }

    /// Whether there is anything to store.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The conversations to keep at hand, with their contacts as they stand at the end.
    pub fn into_cached(
        conversations: HashMap<ConversationId, CachedConversation>,
        contacts: &HashMap<ContactId, Arc<Contact>>,
    ) -> impl Iterator<Item = CachedConversation> {
        conversations.into_values().map(|mut known| {
            if let Some(contact) = contacts.get(&known.conversation.row.contact_id) {
                known.conversation.contact = Arc::clone(contact);
            }
            known
        })
    }
}

/// Refuses a call whose messages would repeat too much in their events: each event has the attributes of the conversation and of its contact.
///
/// # Errors
/// [`Error::Invalid`], with how many messages would fit.
fn bound_repeated(scene: &BatchContext, call: &Messages) -> Result<()> {
    let mut sizes: HashMap<ConversationId, usize> = HashMap::new();
    if call.items.len() == 1 {
        return Ok(());
    }
    let of = |known: &CachedConversation| {
        let (conversation, contact) = (&known.conversation.row, &known.conversation.contact.row);
        let maps = [
            &conversation.custom_attributes,
            &conversation.additional_attributes,
            &contact.custom_attributes,
            &contact.additional_attributes,
        ];
        maps.into_iter().map(|map| AttributeSize::of(map).bytes()).sum()
    };
    let repeated: usize = call
        .items
        .iter()
        .map(|(id, _)| *sizes.entry(*id).or_insert_with(|| scene.known.get(id).map_or(0, of)))
        .sum();
    if repeated <= REPEATED_BYTES {
        return Ok(());
    }
    let fit = call.items.len() * REPEATED_BYTES / repeated;
    Err(Error::invalid(
        "messages",
        Rule::TooMany(fit.max(1)),
        format!(
            "must be fewer: with each message, an event repeats the attributes of its conversation and contact, and {REPEATED_BYTES} bytes of them are allowed in one call"
        ),
    ))
}

/// A reply to a message of the same conversation names that message's source id too; one to any other message becomes
/// null, as Chatwoot has it.
pub fn reply_to(new: &mut NewMessage, conversation: ConversationId, replied: &HashMap<MessageId, (ConversationId, Option<String>)>) {
    let Json::Object(attributes) = &mut new.content_attributes else {
        return;
    };
    let Some(wanted) = attributes.get("in_reply_to") else { return };
    let found = reply_id(wanted).and_then(|id| {
        replied
            .get(&id)
            .filter(|(of, _)| *of == conversation)
            .map(|(_, source)| (id, source))
    });
    let (id, source) = found.map_or((Json::Null, Json::Null), |(id, source)| (json!(id.0), json!(source)));
    attributes.insert("in_reply_to".to_owned(), id);
    attributes.insert("in_reply_to_external_id".to_owned(), source);
}

/// The message that `in_reply_to` names.
pub fn reply_id(value: &Json) -> Option<MessageId> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).map(MessageId)
}

/// What a source id that must be unique and is not is refused with.
pub fn source_id_taken(nth: usize, count: usize, existing: MessageId) -> Error {
    let field = if count == 1 {
        "message.source_id".to_owned()
    } else {
        format!("messages[{nth}].message.source_id")
    };
    let violation = Violation::new(field, Rule::Taken, "is the source_id of another message in this inbox");
    Error::Taken {
        violations: vec![violation],
        kind: "message",
        existing_id: Some(existing.0),
    }
}
