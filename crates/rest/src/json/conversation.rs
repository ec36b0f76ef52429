//! The JSON representation of conversations.

use parley_proto::{self as pb, ConversationPriority, ConversationStatus};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    agent::{Agent, UserEvent},
    contact::{Contact, ContactEvent},
    inbox::ChannelType,
    json_type::json_type,
    message::{MessageContext, MessageEvent},
    team::Team,
    unread::unread,
    values::{Id, Name, Named},
};
use crate::params::{
    attributes::Attributes,
    timestamps::{Iso, Unix, fractional},
};

impl Named for ConversationStatus {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("open", Self::Open),
        ("resolved", Self::Resolved),
        ("pending", Self::Pending),
        ("snoozed", Self::Snoozed),
    ];
}

impl Named for ConversationPriority {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("urgent", Self::Urgent),
    ];
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Meta {
    sender: Contact,
    #[schemars(with = "String")]
    channel: ChannelType,
    hmac_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Agent")]
    assignee: Option<Agent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Team")]
    team: Option<Team>,
}

json_type! {
    /// A conversation of a contact in an inbox.
    pub struct Conversation(mut conversation: pb::Conversation) with {
        let (last, last_non_activity) = (conversation.last_message.take(), conversation.last_non_activity_message.take());
        let context = MessageContext::of(&conversation);
        let messages = last.map(|last| MessageEvent::new(last, &context)).into_iter().collect();
        let last_non_activity_message = last_non_activity.map(|last| MessageEvent::new(last, &context));
        let (status, priority) = (conversation.status(), conversation.priority());
        let unread_count = unread(&conversation);
        let person = conversation.contact.unwrap_or_default();
        let last_activity_at = conversation.last_activity_at.into();
    } {
        muted: bool = person.blocked,
        /// The contact, the assignee and the team of the conversation.
        meta: Meta = Meta {
            sender: person.into(),
            channel: ChannelType,
            hmac_verified: conversation.contact_inbox.map(|session| session.hmac_verified),
            assignee: conversation.assignee.map(Agent::from),
            team: conversation.team.map(Team::from),
        },
        /// Number of the conversation in its account.
        id: Id = conversation.id.into(),
        messages: Vec<MessageEvent> = messages,
        account_id: Id = conversation.account_id.into(),
        uuid: String = conversation.uuid,
        additional_attributes: Attributes = conversation.additional_attributes.into(),
        agent_last_seen_at: Unix = conversation.agent_last_seen_at.into(),
        assignee_last_seen_at: Unix = conversation.assignee_last_seen_at.into(),
        can_reply: bool = conversation.can_reply,
        contact_last_seen_at: Unix = conversation.contact_last_seen_at.into(),
        custom_attributes: Attributes = conversation.custom_attributes.into(),
        inbox_id: Id = conversation.inbox_id.into(),
        labels: Vec<String> = conversation.labels,
        snoozed_until: Option<Iso> = Iso::optional(conversation.snoozed_until),
        status: Name<ConversationStatus> = Name(status),
        created_at: Unix = conversation.created_at.into(),
        /// When the conversation last changed, in seconds since 1970 with a fractional part.
        updated_at: f64 = fractional(conversation.updated_at.as_ref()),
        timestamp: Unix = last_activity_at,
        first_reply_created_at: Unix = conversation.first_reply_created_at.into(),
        unread_count: i64 = unread_count,
        last_non_activity_message: Option<MessageEvent> = last_non_activity_message,
        last_activity_at: Unix = last_activity_at,
        priority: Option<Name<ConversationPriority>> = Name::known(priority),
        waiting_since: Unix = conversation.waiting_since.into(),
        sla_policy_id: () = (),
    }
    truncated_fields = conversation.truncated_fields;
}

json_type! {
    // Conversation counts, as filters and searches return them. Counts that were not computed are null.
    #[schemars(inline)]
    pub struct Counts(counts: Option<pb::ConversationCounts>) {
        mine_count: Option<i64> = counts.map(|counts| counts.mine),
        unassigned_count: Option<i64> = counts.map(|counts| counts.unassigned),
        all_count: Option<i64> = counts.map(|counts| counts.all),
    }
}

json_type! {
    // Conversation counts, as conversation lists return them.
    #[schemars(inline)]
    pub struct ListCounts(counts: Option<pb::ConversationCounts>) {
        #[serde(flatten)]
        counts: Counts = counts.into(),
        assigned_count: Option<i64> = counts.map(|counts| counts.assigned),
    }
}

json_type! {
    // Fields of a conversation that accompany the list of its messages.
    #[schemars(inline)]
    pub struct MessageListMeta(conversation: pb::Conversation) {
        labels: Vec<String> = conversation.labels,
        additional_attributes: Attributes = conversation.additional_attributes.into(),
        contact: Option<ContactEvent> = conversation.contact.map(ContactEvent::from),
        agent_last_seen_at: Option<Iso> = Iso::optional(conversation.agent_last_seen_at),
        assignee_last_seen_at: Option<Iso> = Iso::optional(conversation.assignee_last_seen_at),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(with = "UserEvent")]
        assignee: Option<UserEvent> = conversation.assignee.map(UserEvent::from),
    }
    truncated_fields = conversation.truncated_fields;
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json::test_json::{keys, to_json};

    #[test]
    fn absent_values_are_zero_null_or_omitted() {
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
        let json = to_json(&Conversation::from(row));
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
    fn list_omits_absent_assignee() {
        let conversation = pb::Conversation::default();
        assert!(!keys(&to_json(&MessageListMeta::from(conversation.clone()))).contains(&"assignee"));
        let assigned = pb::Conversation {
            assignee: Some(pb::Agent::default()),
            ..conversation
        };
        assert_eq!(to_json(&MessageListMeta::from(assigned))["assignee"]["type"], "user");
    }
}
