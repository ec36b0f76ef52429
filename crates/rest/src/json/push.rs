//! Converts events to the JSON that is sent over the WebSocket, in Chatwoot's push format. The `pubsub_token` of sessions is omitted,
//! because it is a credential.

use parley_fault::Protection;
use parley_proto::{self as pb, ActorType, EventKind, event::Resource, value::json_of};
use serde_json::{Map, Value as Json, json};

use super::{
    account::CacheKeys,
    agent::UserEvent,
    contact::ContactEvent,
    message::{MessageContext, MessageEvent},
    truncated::TruncatedFields,
    unread::unread,
    values::Name,
};
use crate::params::{
    attributes::Attributes,
    timestamps::{Iso, Unix, fractional},
};

/// Returns the name and data of each frame that is sent for an event, or an empty list if the event is not sent over the WebSocket. `user`
/// is the id of the subscribed user, or `None` if the subscriber is a contact session. `keys` are the cache keys that accompany the event.
pub fn frames(event: &pb::Event, user: Option<i64>, keys: Option<&pb::CacheKeys>) -> Vec<(&'static str, Json)> {
    let contact = user.is_none();
    let frame = |name, data| vec![(name, data)];
    match (event.kind(), &event.resource) {
        (EventKind::MessageCreated, Some(Resource::Message(resource))) => {
            let mut frames = frame("message.created", message(event, resource));
            if user.is_some_and(|user| mentions(resource, user)) {
                let of = resource.conversation.clone().unwrap_or_default();
                frames.push(("conversation.mentioned", conversation(of)));
            }
            frames
        }
        (EventKind::MessageUpdated, Some(Resource::Message(resource))) => {
            let mut data = message(event, resource);
            data["previous_changes"] = previous(event);
            frame("message.updated", data)
        }
        (kind, Some(Resource::Conversation(resource))) => {
            let Some(name) = of_conversation(kind, contact) else {
                return Vec::new();
            };
            if kind == EventKind::ConversationRead && !read_by_contact(event) {
                return Vec::new();
            }
            let mut data = conversation(resource.conversation.clone().unwrap_or_default());
            if kind == EventKind::ConversationCreated
                && let Some(performer) = performer(event)
            {
                data["performer"] = json!(performer);
            }
            frame(name, data)
        }
        (kind, Some(Resource::Contact(resource))) if !contact => {
            let name = match kind {
                EventKind::ContactCreated => "contact.created",
                EventKind::ContactUpdated => "contact.updated",
                EventKind::ContactMerged => "contact.merged",
                EventKind::ContactDeleted => "contact.deleted",
                _ => return Vec::new(),
            };
            let mut data = json!(ContactEvent::from(resource.contact.clone().unwrap_or_default()));
            data["account_id"] = json!(event.account_id);
            frame(name, data)
        }
        (EventKind::ContactDeleted, Some(Resource::Tombstone(left))) if !contact => frame(
            "contact.deleted",
            json!({ "id": left.contact_id, "type": "contact", "account_id": event.account_id }),
        ),
        (_, Some(Resource::Label(_) | Resource::Team(_) | Resource::Inbox(_))) if !contact => {
            let data = keys.map(|keys| json!({ "cache_keys": CacheKeys::from(keys.clone()), "account_id": event.account_id }));
            data.into_iter().flat_map(|data| frame("account.cache_invalidated", data)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether a message is a private note that mentions a user. Front ends write mentions as `(mention://user/5/Ravi)`.
fn mentions(resource: &pb::MessageResource, user: i64) -> bool {
    let mention = format!("mention://user/{user}/");
    let note = resource.message.as_ref().filter(|message| message.private);
    note.and_then(|note| note.content.as_deref())
        .is_some_and(|content| content.contains(&mention))
}

/// Returns whether the contact, rather than an agent, has read the conversation. Read events of agents are not sent to dashboards: a
/// dashboard responds to each frame for the open conversation by marking it as read, which would cause a loop.
fn read_by_contact(event: &pb::Event) -> bool {
    event.changes.iter().any(|change| change.field == "contact_last_seen_at") || !parley_fault::is_on(Protection::SilentViews)
}

fn of_conversation(kind: EventKind, contact: bool) -> Option<&'static str> {
    Some(match kind {
        EventKind::ConversationCreated => "conversation.created",
        EventKind::ConversationUpdated => "conversation.updated",
        EventKind::ConversationStatusChanged => "conversation.status_changed",
        _ if contact => return None,
        EventKind::ConversationRead => "conversation.read",
        EventKind::ConversationContactChanged => "conversation.contact_changed",
        EventKind::AssigneeChanged => "assignee.changed",
        EventKind::TeamChanged => "team.changed",
        EventKind::FirstReplyCreated => "first.reply.created",
        _ => return None,
    })
}

fn message(event: &pb::Event, resource: &pb::MessageResource) -> Json {
    let of = resource.conversation.clone().unwrap_or_default();
    let message = resource.message.clone().unwrap_or_default();
    let mut data = json!(MessageEvent::new(message, &MessageContext::of(&of)));
    if let Some(performer) = performer(event) {
        data["performer"] = json!(performer);
    }
    data
}

/// Returns the agent who caused an event, with the fields that the event contains.
fn performer(event: &pb::Event) -> Option<UserEvent> {
    let actor = event.actor.as_ref().filter(|actor| actor.r#type() == ActorType::User)?;
    Some(UserEvent::new(
        actor.id,
        actor.name.clone(),
        actor.name.clone(),
        String::new(),
        None,
    ))
}

/// Returns the previous and the new value of each changed field.
fn previous(event: &pb::Event) -> Json {
    let value = |value: &Option<prost_types::Value>| value.as_ref().and_then(|value| json_of(value).ok()).unwrap_or_default();
    let changed: Map<String, Json> = event
        .changes
        .iter()
        .map(|change| (change.field.clone(), json!([value(&change.before), value(&change.after)])))
        .collect();
    Json::Object(changed)
}

/// Converts a conversation to the JSON in a frame.
pub fn conversation(mut conversation: pb::Conversation) -> Json {
    let last = conversation.last_public_message.take();
    let context = MessageContext::of(&conversation);
    let messages: Vec<_> = last.map(|last| MessageEvent::new(last, &context)).into_iter().collect();
    let session = conversation.contact_inbox.take().unwrap_or_default();
    let (status, priority, unread_count) = (Name(conversation.status()), conversation.priority(), unread(&conversation));
    let (iso, unix) = (Iso::from, Unix::from);
    let last_activity_at = unix(conversation.last_activity_at);
    let mut json = json!({
        "additional_attributes": Attributes(conversation.additional_attributes),
        "can_reply": conversation.can_reply,
        "channel": "Channel::Api",
        "contact_inbox": {
            "id": session.id,
            "contact_id": session.contact_id,
            "inbox_id": session.inbox_id,
            "source_id": session.source_id,
            "created_at": iso(session.created_at),
            "updated_at": iso(session.updated_at),
            "hmac_verified": session.hmac_verified,
        },
        "id": conversation.id,
        "inbox_id": conversation.inbox_id,
        "messages": messages,
        "labels": conversation.labels,
        "meta": {
            "sender": ContactEvent::from(conversation.contact.unwrap_or_default()),
            "assignee": conversation.assignee.map(UserEvent::from),
            "team": conversation.team.as_ref().map(|team| json!({ "id": team.id, "name": team.name })),
            "hmac_verified": session.hmac_verified,
        },
        "status": status,
        "custom_attributes": Attributes(conversation.custom_attributes),
        "snoozed_until": iso(conversation.snoozed_until),
        "unread_count": unread_count,
        "first_reply_created_at": iso(conversation.first_reply_created_at),
        "priority": Name::known(priority),
        "waiting_since": unix(conversation.waiting_since),
        "agent_last_seen_at": unix(conversation.agent_last_seen_at),
        "contact_last_seen_at": unix(conversation.contact_last_seen_at),
        "last_activity_at": last_activity_at,
        "timestamp": last_activity_at,
        "created_at": unix(conversation.created_at),
        "updated_at": fractional(conversation.updated_at.as_ref()),
        "account_id": conversation.account_id,
    });
    let truncated_fields = TruncatedFields::of(&json, &conversation.truncated_fields);
    if !truncated_fields.is_empty() {
        json["truncated_fields"] = json!(truncated_fields);
    }
    json
}

/// Returns the name and data of the frame for a typing event. The frame contains only the id of the conversation, because ephemeral events
/// carry no state.
pub fn typing(event: &pb::EphemeralEvent) -> (&'static str, Json) {
    let name = match event.kind() {
        pb::EphemeralKind::TypingOff => "conversation.typing_off",
        pb::EphemeralKind::TypingOn | pb::EphemeralKind::Unspecified => "conversation.typing_on",
    };
    let actor = event.actor.clone().unwrap_or_default();
    let kind = match actor.r#type() {
        ActorType::Contact => "contact",
        ActorType::AgentBot => "agent_bot",
        _ => "user",
    };
    let data = json!({
        "conversation": { "id": event.conversation_id, "inbox_id": event.inbox_id },
        "user": { "id": actor.id, "name": actor.name, "type": kind, "thumbnail": "" },
        "is_private": event.is_private,
        "account_id": event.account_id,
    });
    (name, data)
}
