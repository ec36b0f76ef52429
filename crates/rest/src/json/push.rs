//! The JSON of events at the WebSocket, in Chatwoot's push format. The `pubsub_token` of sessions is omitted, because it is a credential.

use parley_fault::Protection;
use parley_proto::{self as pb, ActorType, EventKind, event::Resource, value::json_of};
use serde_json::{Map, Value as Json, json};

use super::{
    account::cache_keys,
    agent::user_event,
    contact::contact_event,
    conversation::{PRIORITIES, status},
    message::message_event,
    truncated,
    unread::unread,
};
use crate::params::{
    attributes::object,
    timestamps::{fractional, iso, unix},
};

/// The name and data of each frame for an event; empty for events that the WebSocket does not send. `user` is the subscriber, or `None` if
/// it is a contact session. `keys` are the cache keys that accompany the event.
pub fn frames(event: &pb::Event, user: Option<i64>, keys: Option<&pb::CacheKeys>) -> Vec<(&'static str, Json)> {
    let contact = user.is_none();
    let frame = |name, data| vec![(name, data)];
    match (event.kind(), &event.resource) {
        (EventKind::MessageCreated, Some(Resource::Message(resource))) => {
            let mut frames = frame("message.created", message(event, resource));
            if user.is_some_and(|user| mentions(resource, user)) {
                let of = resource.conversation.clone().unwrap_or_default();
                frames.push(("conversation.mentioned", conversation(&of)));
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
            let mut data = conversation(&resource.conversation.clone().unwrap_or_default());
            if kind == EventKind::ConversationCreated
                && let Some(performer) = performer(event)
            {
                data["performer"] = performer;
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
            let mut data = contact_event(&resource.contact.clone().unwrap_or_default());
            data["account_id"] = json!(event.account_id);
            frame(name, data)
        }
        (EventKind::ContactDeleted, Some(Resource::Tombstone(left))) if !contact => frame(
            "contact.deleted",
            json!({ "id": left.contact_id, "type": "contact", "account_id": event.account_id }),
        ),
        (_, Some(Resource::Label(_) | Resource::Team(_) | Resource::Inbox(_))) if !contact => {
            let data = keys.map(|keys| json!({ "cache_keys": cache_keys(keys), "account_id": event.account_id }));
            data.into_iter().flat_map(|data| frame("account.cache_invalidated", data)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether this is a private note that mentions a user, in the syntax of front ends: `(mention://user/5/Ravi)`.
fn mentions(resource: &pb::MessageResource, user: i64) -> bool {
    let mention = format!("mention://user/{user}/");
    let note = resource.message.as_ref().filter(|message| message.private);
    note.and_then(|note| note.content.as_deref())
        .is_some_and(|content| content.contains(&mention))
}

/// Whether the contact has read the conversation. An agent's read event is not sent to dashboards: they respond to each frame of the open
/// conversation by marking it as read, which would loop.
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
    let mut data = message_event(&resource.message.clone().unwrap_or_default(), &of);
    if let Some(performer) = performer(event) {
        data["performer"] = performer;
    }
    data
}

/// The agent who caused an event, with the fields that the event contains.
fn performer(event: &pb::Event) -> Option<Json> {
    let actor = event.actor.as_ref().filter(|actor| actor.r#type() == ActorType::User)?;
    Some(json!({
        "id": actor.id,
        "name": actor.name,
        "available_name": actor.name,
        "avatar_url": "",
        "type": "user",
        "availability_status": null,
        "thumbnail": "",
    }))
}

/// The previous and new value of each changed field.
fn previous(event: &pb::Event) -> Json {
    let value = |value: &Option<prost_types::Value>| value.as_ref().and_then(|value| json_of(value).ok()).unwrap_or_default();
    let changed: Map<String, Json> = event
        .changes
        .iter()
        .map(|change| (change.field.clone(), json!([value(&change.before), value(&change.after)])))
        .collect();
    Json::Object(changed)
}

/// A conversation in a frame.
pub fn conversation(conversation: &pb::Conversation) -> Json {
    let person = conversation.contact.clone().unwrap_or_default();
    let session = conversation.contact_inbox.clone().unwrap_or_default();
    let last_activity_at = unix(conversation.last_activity_at.as_ref());
    let seen = |at: Option<&prost_types::Timestamp>| at.map_or_else(|| json!(0), |at| unix(Some(at)).into());
    let priority = PRIORITIES.iter().find(|(_, priority)| *priority == conversation.priority());
    let last = conversation.last_public_message.as_ref();
    let mut json = json!({
        "additional_attributes": object(conversation.additional_attributes.as_ref()),
        "can_reply": conversation.can_reply,
        "channel": "Channel::Api",
        "contact_inbox": {
            "id": session.id,
            "contact_id": session.contact_id,
            "inbox_id": session.inbox_id,
            "source_id": session.source_id,
            "created_at": iso(session.created_at.as_ref()),
            "updated_at": iso(session.updated_at.as_ref()),
            "hmac_verified": session.hmac_verified,
        },
        "id": conversation.id,
        "inbox_id": conversation.inbox_id,
        "messages": last.map(|last| message_event(last, conversation)).into_iter().collect::<Vec<_>>(),
        "labels": conversation.labels,
        "meta": {
            "sender": contact_event(&person),
            "assignee": conversation.assignee.as_ref().map(user_event),
            "team": conversation.team.as_ref().map(|team| json!({ "id": team.id, "name": team.name })),
            "hmac_verified": session.hmac_verified,
        },
        "status": status(conversation),
        "custom_attributes": object(conversation.custom_attributes.as_ref()),
        "snoozed_until": iso(conversation.snoozed_until.as_ref()),
        "unread_count": unread(conversation),
        "first_reply_created_at": iso(conversation.first_reply_created_at.as_ref()),
        "priority": priority.map(|(name, _)| *name),
        "waiting_since": seen(conversation.waiting_since.as_ref()),
        "agent_last_seen_at": seen(conversation.agent_last_seen_at.as_ref()),
        "contact_last_seen_at": seen(conversation.contact_last_seen_at.as_ref()),
        "last_activity_at": last_activity_at,
        "timestamp": last_activity_at,
        "created_at": unix(conversation.created_at.as_ref()),
        "updated_at": fractional(conversation.updated_at.as_ref()),
        "account_id": conversation.account_id,
    });
    truncated::mark(&mut json, &conversation.truncated_fields);
    json
}

/// The frame of a typing event. It has only the id of the conversation: ephemeral events carry no state.
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
