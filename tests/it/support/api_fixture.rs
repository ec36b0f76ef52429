//! One-line helpers that create contacts, sessions, conversations and messages over the gRPC API.

use parley_proto::{
    self as pb, CreateContactRequest, CreateConversationRequest, CreateMessageRequest, CreateMessageResponse, GetContactBySessionRequest,
    Message, MessageDraft, MessageType,
};
use tonic::Status;
use uuid::Uuid;

use super::{clients::Clients, in_time};

/// An account and an inbox, with clients to use them.
#[derive(Clone, Debug)]
pub struct ApiFixture {
    /// The clients.
    pub clients: Clients,
    /// The account.
    pub account: i64,
    /// The inbox in which sessions are created.
    pub inbox: i64,
}

/// A contact with its session.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id of the contact.
    pub contact: i64,
    /// The source id of the session.
    pub source: String,
}

impl ApiFixture {
    pub fn new(clients: Clients, account: i64, inbox: i64) -> Self {
        Self { clients, account, inbox }
    }

    /// The same account and inbox with other clients.
    pub fn through(&self, clients: Clients) -> Self {
        Self { clients, ..self.clone() }
    }

    /// Creates a contact with a session.
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

    /// The id of the contact to whom the session belongs. Visitors do not receive it.
    pub async fn contact_of(&self, source: &str) -> i64 {
        let request = GetContactBySessionRequest {
            account_id: self.account,
            inbox_id: self.inbox,
            source_id: source.to_owned(),
        };
        let found = self.clients.contacts.clone().get_contact_by_session(request).await;
        found.expect("the session is there").into_inner().contact.expect("always set").id
    }

    /// Creates a conversation in the person's session.
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

    /// Creates a contact with a conversation. Returns the number of the conversation.
    pub async fn talk(&self) -> i64 {
        let person = self.person("Asha Rao").await;
        self.conversation(&person).await.id
    }

    /// Sends a message. Returns the server's response.
    pub async fn send(&self, conversation: i64, draft: MessageDraft) -> Result<CreateMessageResponse, Status> {
        let request = self.request(conversation, draft);
        let answer = in_time("a message", self.clients.messages.clone().create_message(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Sends an incoming text message.
    pub async fn hear(&self, conversation: i64, text: &str) -> Message {
        self.sent(conversation, incoming(text)).await.0
    }

    /// Sends an outgoing text message.
    pub async fn say(&self, conversation: i64, text: &str) -> Message {
        self.sent(conversation, outgoing(text)).await.0
    }

    /// Sends a message, which must succeed. Returns it with the cursor of its last event.
    pub async fn sent(&self, conversation: i64, draft: MessageDraft) -> (Message, bytes::Bytes) {
        let answer = self.send(conversation, draft).await.expect("the message is taken");
        (answer.message.expect("always set"), answer.cursor)
    }

    /// The request for a message, with a new `request_id`.
    pub fn request(&self, conversation: i64, draft: MessageDraft) -> CreateMessageRequest {
        CreateMessageRequest {
            account_id: self.account,
            request_id: Uuid::new_v4().to_string(),
            conversation_id: conversation,
            message: Some(draft),
        }
    }
}

/// A text message from the contact.
pub fn incoming(text: &str) -> MessageDraft {
    MessageDraft {
        r#type: MessageType::Incoming.into(),
        content: Some(text.to_owned()),
        ..MessageDraft::default()
    }
}

/// A text message from the caller.
pub fn outgoing(text: &str) -> MessageDraft {
    MessageDraft {
        r#type: MessageType::Outgoing.into(),
        content: Some(text.to_owned()),
        ..MessageDraft::default()
    }
}

/// A private note.
pub fn note(text: &str) -> MessageDraft {
    MessageDraft {
        private: true,
        ..outgoing(text)
    }
}
