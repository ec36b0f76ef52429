//! What is true for a moment: told to whoever listens, outside of the log, and lost on whoever does not.

use parley_proto::{self as pb, EphemeralKind, value::timestamp};
use parley_types::{
    id::{AccountId, ConversationId, InboxId},
    time::Micros,
};

use crate::draft::Actor;

/// Somebody starts or stops typing.
#[derive(Clone, Debug)]
pub struct Typing {
    /// The account.
    pub account: AccountId,
    /// The conversation.
    pub conversation: ConversationId,
    /// Its inbox.
    pub inbox: InboxId,
    /// Who types.
    pub actor: Actor,
    /// Starts.
    pub typing: bool,
    /// A private note.
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
