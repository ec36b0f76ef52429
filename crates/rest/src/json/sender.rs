//! The JSON representation of message senders.

use parley_proto::{self as pb, Availability, SenderType};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    agent::UserEvent,
    contact::ContactEvent,
    json_type::json_type,
    values::{Id, constant},
};

constant!(AgentBotType, "agent_bot");

json_type! {
    /// An agent bot as the sender of a message.
    pub struct AgentBotEvent(sender: pb::Sender) {
        id: Id = sender.id.into(),
        name: String = sender.name,
        avatar_url: String = sender.avatar_url,
        r#type: AgentBotType = AgentBotType,
    }
}

// The sender of a message, as it was when the message was written.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Sender {
    Contact(Box<ContactEvent>),
    User(Box<UserEvent>),
    AgentBot(AgentBotEvent),
}

impl Sender {
    /// Converts the sender of a message. `contact` is the contact of the message's conversation, if it is known.
    pub fn new(sender: pb::Sender, contact: Option<&pb::Contact>) -> Self {
        match sender.r#type() {
            SenderType::Contact | SenderType::Unspecified => {
                let known = || contact.filter(|contact| contact.id == sender.id).cloned();
                let contact = sender.contact.or_else(known).unwrap_or_else(|| pb::Contact {
                    id: sender.id,
                    name: sender.name,
                    avatar_url: sender.avatar_url,
                    ..Default::default()
                });
                Self::Contact(Box::new(contact.into()))
            }
            SenderType::User => {
                let available_name = sender.available_name.unwrap_or_else(|| sender.name.clone());
                // The sender is shown as it was when the message was written, so its current availability is not disclosed.
                let availability = Some(Availability::Offline);
                Self::User(Box::new(UserEvent::new(
                    sender.id,
                    sender.name,
                    available_name,
                    sender.avatar_url,
                    availability,
                )))
            }
            SenderType::AgentBot => Self::AgentBot(sender.into()),
        }
    }

    /// Removes the availability of the sender, if the sender is a user.
    #[must_use]
    pub fn without_availability(mut self) -> Self {
        if let Self::User(user) = &mut self {
            user.availability_status = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::test_json::to_json;

    #[test]
    fn serializes_each_sender_type() {
        let mut user = pb::Sender {
            r#type: SenderType::User.into(),
            id: 12,
            name: "Mina Okafor".to_owned(),
            available_name: Some("Mina".to_owned()),
            ..Default::default()
        };
        assert_eq!(
            to_json(&Sender::new(user.clone(), None)),
            json!({"id": 12, "name": "Mina Okafor", "available_name": "Mina", "avatar_url": "", "type": "user",
                "availability_status": "offline", "thumbnail": ""})
        );
        user.set_type(SenderType::AgentBot);
        assert_eq!(
            to_json(&Sender::new(user, None)),
            json!({"id": 12, "name": "Mina Okafor", "avatar_url": "", "type": "agent_bot"})
        );
    }
}
