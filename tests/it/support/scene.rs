//! Makes contacts, sessions, conversations and messages in a line each, through the gRPC door.

use parley_proto::{
    self as pb, CreateContactRequest, CreateConversationRequest, CreateMessageRequest, CreateMessageResponse, GetContactBySessionRequest,
    Message, MessageDraft, MessageType,
};
use tonic::Status;
use uuid::Uuid;

use super::{clients::Clients, in_time};

/// An account with an inbox, and the clients to work in it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The clients.
    pub clients: Clients,
    /// The account.
    pub account: i64,
    /// The inbox that sessions are made in.
    pub inbox: i64,
}

/// A contact with its session.
#[derive(Clone, Debug)]
pub struct Person {
    /// The contact.
    pub contact: i64,
    /// The session's name.
    pub source: String,
}

impl Scene {
    /// A scene in this account and inbox.
    pub fn new(clients: Clients, account: i64, inbox: i64) -> Self {
        Self { clients, account, inbox }
    }

    /// The same scene through other clients.
    pub fn through(&self, clients: Clients) -> Self {
        Self { clients, ..self.clone() }
    }

    /// A contact with a session.
    pub async fn person(&self, name: &str) -> Person {
        let request = CreateContactRequest {
            account_id: self.account,
            name: name.to_owned(),
            inbox_id: Some(self.inbox),
            ..CreateContactRequest::default()
        };
        let answer = in_time("a contact", self.clients.contacts.clone().create_contact(request)).await;
        let answer = answer.expect("the contact is made").into_inner();
        Person {
            contact: answer.contact.expect("always set").id,
            source: answer.contact_inbox.expect("a session was asked for").source_id,
        }
    }

    /// The contact of the session with this name. Visitors are not shown its id.
    pub async fn contact_of(&self, source: &str) -> i64 {
        let request = GetContactBySessionRequest {
            account_id: self.account,
            inbox_id: self.inbox,
            source_id: source.to_owned(),
        };
        let found = self.clients.contacts.clone().get_contact_by_session(request).await;
        found.expect("the session is there").into_inner().contact.expect("always set").id
    }

    /// A conversation of that session.
    pub async fn conversation(&self, person: &Person) -> pb::Conversation {
        let request = CreateConversationRequest {
            account_id: self.account,
            inbox_id: Some(self.inbox),
            contact_id: Some(person.contact),
            source_id: Some(person.source.clone()),
            ..CreateConversationRequest::default()
        };
        let answer = in_time("a conversation", self.clients.conversations.clone().create_conversation(request)).await;
        answer
            .expect("the conversation is made")
            .into_inner()
            .conversation
            .expect("always set")
    }

    /// The number of a conversation with somebody new.
    pub async fn talk(&self) -> i64 {
        let person = self.person("Asha Rao").await;
        self.conversation(&person).await.id
    }

    /// A message, as the server answers it.
    pub async fn send(&self, conversation: i64, draft: MessageDraft) -> Result<CreateMessageResponse, Status> {
        let request = self.request(conversation, draft);
        let answer = in_time("a message", self.clients.messages.clone().create_message(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// An incoming text.
    pub async fn hear(&self, conversation: i64, text: &str) -> Message {
        self.sent(conversation, incoming(text)).await.0
    }

    /// An outgoing text.
    pub async fn say(&self, conversation: i64, text: &str) -> Message {
        self.sent(conversation, outgoing(text)).await.0
    }

    /// A message that must be taken, and the cursor of its last event.
    pub async fn sent(&self, conversation: i64, draft: MessageDraft) -> (Message, bytes::Bytes) {
        let answer = self.send(conversation, draft).await.expect("the message is taken");
        (answer.message.expect("always set"), answer.cursor)
    }

    /// The request for a message, with a `request_id` of its own.
    pub fn request(&self, conversation: i64, draft: MessageDraft) -> CreateMessageRequest {
        CreateMessageRequest {
            account_id: self.account,
            request_id: Uuid::new_v4().to_string(),
            conversation_id: conversation,
            message: Some(draft),
        }
    }
}

/// A text from the contact.
pub fn incoming(text: &str) -> MessageDraft {
    MessageDraft {
        r#type: MessageType::Incoming.into(),
        content: Some(text.to_owned()),
        ..MessageDraft::default()
    }
}

/// A text from the caller.
pub fn outgoing(text: &str) -> MessageDraft {
    MessageDraft {
        r#type: MessageType::Outgoing.into(),
        content: Some(text.to_owned()),
        ..MessageDraft::default()
    }
}

/// A note among agents.
pub fn note(text: &str) -> MessageDraft {
    MessageDraft {
        private: true,
        ..outgoing(text)
    }
}
