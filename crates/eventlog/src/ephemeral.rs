//! Ephemeral events, such as typing: sent to connected subscribers only, and never stored in the log.

use parley_proto::{self as pb, EphemeralKind, value::timestamp};
use parley_types::{
    id::{AccountId, ConversationId, InboxId},
    time::Micros,
};

use crate::pending_event::Actor;

/// A user or contact started or stopped typing.
#[derive(Clone, Debug)]
pub struct Typing {
    pub account: AccountId,
    pub conversation: ConversationId,
    pub inbox: InboxId,
    pub actor: Actor,
    /// Whether typing started, as opposed to stopped.
    pub typing: bool,
    /// Whether a private note is being typed.
    pub private: bool,
}

impl From<&Typing> for pb::EphemeralEvent {
    fn from(typing: &Typing) -> Self {
        let (kind, name) = if typing.typing {
            (EphemeralKind::TypingOn, "conversation.typing_on")
        } else {
            (EphemeralKind::TypingOff, "conversation.typing_off")
        };
        let actor = &typing.actor;
        Self {
            kind: kind.into(),
            kind_name: name.to_owned(),
            account_id: typing.account.0,
            occurred_at: Some(timestamp(Micros::now())),
            actor: Some(pb::Actor {
                r#type: actor.kind.into(),
                id: actor.id,
                name: actor.name.clone(),
            }),
            conversation_id: Some(typing.conversation.0),
            inbox_id: Some(typing.inbox.0),
            is_private: typing.private,
        }
    }
}
