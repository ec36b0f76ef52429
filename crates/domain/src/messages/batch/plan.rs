//! Plans one call: checks its messages and applies the rules to their conversations. Has no side effects.

use std::{collections::HashMap, sync::Arc};

use parley_storage::{entity::kind::ConversationStatus, joined::Contact};
use parley_types::{
    attribute_limits::AttributeSize,
    error::{Error, Result, Rule},
    id::{ContactId, ConversationId, InboxId, MessageId},
};

use super::{
    batches::MessageBatches,
    cache::CachedConversation,
    context::{BatchContext, CallChanges, MessageRows, NewMessages},
    references::{resolve_reply, source_id_taken},
};
use crate::{
    auth::caller::Access,
    files::claims,
    messages::rules,
    write::{WriteSet, planner::BatchCall},
};

/// The maximum number of bytes of attributes that the events of one call may repeat: the event of each message contains the attributes of
/// its conversation and contact. A call is stored entirely or not at all, so it is planned without yielding, and only this limit bounds the
/// time that planning it takes.
const REPEATED_BYTES: usize = 4 * 1024 * 1024;

/// Plans the messages of a call in the order of the request. `planned` contains the changes made by earlier calls of the batch.
///
/// # Errors
/// [`Error::NotFound`] if a conversation does not exist; [`Error::Denied`] if the caller has no access to its inbox; [`Error::Flood`] if
/// the conversation has reached its message rate limit; [`Error::Taken`] if another message has the same unique source id;
/// [`Error::Invalid`] if uploads cannot be claimed or there are too many messages.
pub fn plan_call(
    messages_per_minute: u32,
    context: &mut BatchContext,
    planned: &MessageRows,
    set: &mut WriteSet,
    batched: &BatchCall<MessageBatches>,
    access: &Access,
) -> Result<(NewMessages, CallChanges)> {
    limit_repeated_attributes(context, batched)?;
    let mut conversations: HashMap<ConversationId, CachedConversation> = HashMap::new();
    let mut contacts: HashMap<ContactId, Arc<Contact>> = HashMap::new();
    let mut opened = Vec::new();
    let mut source_ids: Vec<((InboxId, String), MessageId)> = Vec::new();
    let mut messages = Vec::with_capacity(batched.items.len());
    for (nth, (id, new)) in batched.items.iter().enumerate() {
        let mut cached = match conversations.remove(id).or_else(|| planned.conversations.get(id).cloned()) {
            Some(cached) => cached,
            None => context
                .conversations
                .get(id)
                .cloned()
                .ok_or_else(|| Error::not_found("conversation", id))?,
        };
        let contact_id = cached.conversation.row.contact_id;
        if let Some(contact) = contacts.get(&contact_id).or_else(|| planned.contacts.get(&contact_id)) {
            cached.conversation.contact = Arc::clone(contact);
        }
        access.conversation(&cached.conversation.row)?;
        cached.flood.check(set.at, messages_per_minute)?;
        let mut new = new.clone();
        claims::take(&mut context.available, &mut new, batched.call.account, (nth, batched.items.len()))?;
        resolve_reply(&mut new, *id, &context.replied_to);
        let unique = new
            .source_id
            .clone()
            .filter(|_| new.unique_source_id)
            .map(|source| (cached.conversation.row.inbox_id, source));
        if let Some(unique) = &unique {
            let earlier = source_ids.iter().find(|(key, _)| key == unique).map(|(_, id)| *id);
            if let Some(existing) = context.taken_source_ids.get(unique).copied().or(earlier) {
                return Err(source_id_taken(nth, batched.items.len(), existing));
            }
        }
        let before = cached.conversation.row.message_count;
        let was_open = cached.conversation.row.status == ConversationStatus::Open;
        let message = rules::add_message(set, &mut cached.conversation, &batched.call.caller, new);
        cached.flood.add(
            set.at,
            u32::try_from(cached.conversation.row.message_count - before).unwrap_or(u32::MAX),
        );
        if !was_open && rules::wants_assignment(&cached.conversation) {
            opened.push(*id);
        }
        source_ids.extend(unique.map(|unique| (unique, message.row.id)));
        contacts.insert(contact_id, Arc::clone(&cached.conversation.contact));
        conversations.insert(*id, cached);
        messages.push(message);
    }
    let changes = CallChanges {
        conversations,
        contacts,
        opened,
        source_ids,
    };
    Ok((messages, changes))
}

/// Rejects a call whose events would repeat too many bytes of attributes: the event of each message contains the attributes of the
/// conversation and of its contact.
///
/// # Errors
/// [`Error::Invalid`], which states how many messages would fit.
fn limit_repeated_attributes(context: &BatchContext, call: &BatchCall<MessageBatches>) -> Result<()> {
    let mut sizes: HashMap<ConversationId, usize> = HashMap::new();
    if call.items.len() == 1 {
        return Ok(());
    }
    let of = |cached: &CachedConversation| {
        let (conversation, contact) = (&cached.conversation.row, &cached.conversation.contact.row);
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
        .map(|(id, _)| *sizes.entry(*id).or_insert_with(|| context.conversations.get(id).map_or(0, of)))
        .sum();
    if repeated <= REPEATED_BYTES {
        return Ok(());
    }
    let fit = call.items.len() * REPEATED_BYTES / repeated;
    Err(Error::invalid(
        "messages",
        Rule::TooMany(fit.max(1)),
        format!(
            "must be fewer: the event of each message repeats the attributes of its conversation and contact, and one call may repeat at most {REPEATED_BYTES} bytes of them"
        ),
    ))
}
