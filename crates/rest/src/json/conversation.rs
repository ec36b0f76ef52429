//! The JSON of conversations.

use parley_proto::{self as pb, ConversationPriority, ConversationStatus};
use serde_json::{Value as Json, json};

use super::{
    agent::{self, agent, user_event},
    contact::{self, contact, contact_event},
    message::{self, message, message_event},
    team::{self, team},
    truncated,
    unread::unread,
};
use crate::{
    lists::paging,
    openapi::schema::{self, Schema, attributes, flag, id, integer, list, names, null, number, text},
    params::{
        attributes::object,
        timestamps::{fractional, iso, unix},
    },
};

/// The names of statuses in requests and responses.
pub const STATUSES: [(&str, ConversationStatus); 4] = [
    ("open", ConversationStatus::Open),
    ("resolved", ConversationStatus::Resolved),
    ("pending", ConversationStatus::Pending),
    ("snoozed", ConversationStatus::Snoozed),
];

/// The names of priorities in requests and responses.
pub const PRIORITIES: [(&str, ConversationPriority); 4] = [
    ("low", ConversationPriority::Low),
    ("medium", ConversationPriority::Medium),
    ("high", ConversationPriority::High),
    ("urgent", ConversationPriority::Urgent),
];

pub fn status(conversation: &pb::Conversation) -> &'static str {
    super::message::name(&STATUSES, &conversation.status())
}

/// A conversation with its newest message.
pub fn conversation(conversation: &pb::Conversation) -> Json {
    let event = |message: &pb::Message| message_event(message, conversation);
    let priority = PRIORITIES
        .iter()
        .find(|(_, priority)| *priority == conversation.priority())
        .map(|(name, _)| *name);
    let person = conversation.contact.clone().unwrap_or_default();
    let last_activity_at = unix(conversation.last_activity_at.as_ref());
    let mut meta = json!({
        "sender": contact(&person),
        "channel": "Channel::Api",
        "hmac_verified": conversation.contact_inbox.as_ref().map(|session| session.hmac_verified),
    });
    if let Some(assignee) = &conversation.assignee {
        meta["assignee"] = agent(assignee);
    }
    if let Some(of) = &conversation.team {
        meta["team"] = team(of);
    }
    let mut json = json!({
        "meta": meta,
        "id": conversation.id,
        "messages": conversation.last_message.as_ref().map(event).into_iter().collect::<Vec<_>>(),
        "account_id": conversation.account_id,
        "uuid": conversation.uuid,
        "additional_attributes": object(conversation.additional_attributes.as_ref()),
        "agent_last_seen_at": unix(conversation.agent_last_seen_at.as_ref()),
        "assignee_last_seen_at": unix(conversation.assignee_last_seen_at.as_ref()),
        "can_reply": conversation.can_reply,
        "contact_last_seen_at": unix(conversation.contact_last_seen_at.as_ref()),
        "custom_attributes": object(conversation.custom_attributes.as_ref()),
        "inbox_id": conversation.inbox_id,
        "labels": conversation.labels,
        "muted": person.blocked,
        "snoozed_until": iso(conversation.snoozed_until.as_ref()),
        "status": status(conversation),
        "created_at": unix(conversation.created_at.as_ref()),
        "updated_at": fractional(conversation.updated_at.as_ref()),
        "timestamp": last_activity_at,
        "first_reply_created_at": unix(conversation.first_reply_created_at.as_ref()),
        "unread_count": unread(conversation),
        "last_non_activity_message": conversation.last_non_activity_message.as_ref().map(event),
        "last_activity_at": last_activity_at,
        "priority": priority,
        "waiting_since": unix(conversation.waiting_since.as_ref()),
        "sla_policy_id": null,
    });
    truncated::mark(&mut json, &conversation.truncated_fields);
    json
}

/// The schema of [`conversation`].
pub fn schema() -> Schema {
    let meta = schema::object()
        .key("sender", contact::schema())
        .key("channel", text())
        .key("hmac_verified", flag().or_null())
        .optional("assignee", agent::schema())
        .optional("team", team::schema());
    truncated::marked(schema::object())
        .key("meta", meta)
        .keys(&["id", "account_id", "inbox_id"], &id())
        .key("messages", list(message::event_schema()))
        .key("uuid", text())
        .keys(&["additional_attributes", "custom_attributes"], &attributes())
        .keys(
            &[
                "agent_last_seen_at",
                "assignee_last_seen_at",
                "contact_last_seen_at",
                "created_at",
                "timestamp",
                "first_reply_created_at",
                "last_activity_at",
                "waiting_since",
            ],
            &schema::unix(),
        )
        .keys(&["can_reply", "muted"], &flag())
        .key("labels", list(text()))
        .key("snoozed_until", schema::iso().or_null())
        .key("status", names(&STATUSES))
        .key("updated_at", number())
        .key("unread_count", integer())
        .key("last_non_activity_message", message::event_schema().or_null())
        .key("priority", names(&PRIORITIES).or_null())
        .key("sla_policy_id", null())
        .named("Conversation")
}

/// The numbers of conversations in a list.
pub fn counts(counts: Option<&pb::ConversationCounts>) -> Json {
    let mut json = counts_without_assigned(counts);
    json["assigned_count"] = json!(counts.map(|counts| counts.assigned));
    json
}

/// Like [`counts`], in the format of filters and searches. Numbers that were not counted are null.
pub fn counts_without_assigned(counts: Option<&pb::ConversationCounts>) -> Json {
    json!({
        "mine_count": counts.map(|counts| counts.mine),
        "unassigned_count": counts.map(|counts| counts.unassigned),
        "all_count": counts.map(|counts| counts.all),
    })
}

/// The schema of [`counts`].
pub fn counts_schema() -> Schema {
    counts_without_assigned_schema().key("assigned_count", integer().or_null())
}

/// The schema of [`counts_without_assigned`].
pub fn counts_without_assigned_schema() -> Schema {
    schema::object().keys(&["mine_count", "unassigned_count", "all_count"], &integer().or_null())
}

/// A list of messages, with metadata of their conversation.
pub fn messages(list: &pb::ListMessagesResponse) -> Json {
    let conversation = list.conversation.clone().unwrap_or_default();
    let mut meta = json!({
        "labels": conversation.labels,
        "additional_attributes": object(conversation.additional_attributes.as_ref()),
        "contact": conversation.contact.as_ref().map(contact_event),
        "agent_last_seen_at": iso(conversation.agent_last_seen_at.as_ref()),
        "assignee_last_seen_at": iso(conversation.assignee_last_seen_at.as_ref()),
    });
    if let Some(assignee) = &conversation.assignee {
        meta["assignee"] = user_event(assignee);
    }
    truncated::mark(&mut meta, &conversation.truncated_fields);
    json!({ "meta": meta, "payload": list.messages.iter().map(message).collect::<Vec<_>>() })
}

/// The schema of [`messages`].
pub fn messages_schema() -> Schema {
    let meta = truncated::marked(schema::object())
        .key("labels", list(text()))
        .key("additional_attributes", attributes())
        .key("contact", contact::contact_event_schema().or_null())
        .keys(&["agent_last_seen_at", "assignee_last_seen_at"], &schema::iso().or_null())
        .optional("assignee", agent::user_event_schema());
    schema::object()
        .key("meta", paging::told(meta))
        .key("payload", list(message::schema()))
        .named("MessageList")
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::json::agent::keys;

    #[test]
    fn what_is_absent_is_zero_null_or_omitted() {
        let row = pb::Conversation {
            id: 118,
            account_id: 3,
            status: ConversationStatus::Snoozed.into(),
            unread_count: 11,
            contact: Some(pb::Contact {
                id: 41,
                blocked: true,
                ..Default::default()
            }),
            created_at: Some(Timestamp {
                seconds: 1_930_999_000,
                nanos: 0,
            }),
            updated_at: Some(Timestamp {
                seconds: 1_931_000_100,
                nanos: 0,
            }),
            ..Default::default()
        };
        let json = conversation(&row);
        assert_eq!(keys(&json["meta"]), ["channel", "hmac_verified", "sender"]);
        assert_eq!(json["meta"]["hmac_verified"], Json::Null);
        assert_eq!(json["messages"], json!([]));
        assert_eq!(json["last_non_activity_message"], Json::Null);
        for never in [
            "agent_last_seen_at",
            "contact_last_seen_at",
            "first_reply_created_at",
            "waiting_since",
            "timestamp",
        ] {
            assert_eq!(json[never], 0, "{never}");
        }
        assert_eq!((&json["snoozed_until"], &json["priority"]), (&Json::Null, &Json::Null));
        assert_eq!(
            (&json["muted"], &json["unread_count"], &json["status"]),
            (&json!(true), &json!(10), &json!("snoozed"))
        );
        assert_eq!(json["updated_at"].to_string(), "1931000100.0");
        assert_eq!(keys(&json).len(), 26);
    }

    #[test]
    fn a_list_omits_the_assignee_nobody_is() {
        let mut list = pb::ListMessagesResponse {
            conversation: Some(pb::Conversation::default()),
            ..Default::default()
        };
        assert!(!keys(&messages(&list)["meta"]).contains(&"assignee"));
        list.conversation.as_mut().unwrap().assignee = Some(pb::Agent::default());
        assert_eq!(messages(&list)["meta"]["assignee"]["type"], "user");
    }
}
