//! Changes of messages, and reads of them on another server.

use bytes::Bytes;
use parley_proto::{self as pb, ConversationStatus, MessageStatus};
use rand::Rng as _;
use tonic::{Request, metadata::MetadataValue};

use super::{Desk, call, key};
use crate::{
    history::{Acknowledged, ReadBack},
    support::api_fixture::{incoming, outgoing},
    traffic::GIVE_UP,
};

impl Desk {
    fn text(&mut self) -> String {
        self.number += 1;
        format!("{} message {}", self.post.name, self.number)
    }

    pub(super) async fn say(&mut self, index: usize) -> Option<()> {
        let text = self.text();
        let draft = match self.choices.random_range(0..3) {
            // An incoming message reopens a conversation that is not open, which would be a second change.
            0 if self.talks[index].status == ConversationStatus::Open => incoming(&text),
            1 => crate::support::api_fixture::note(&text),
            _ => outgoing(&text),
        };
        let request = pb::CreateMessageRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: self.talks[index].id,
            message: Some(draft),
        };
        let answer = call!(self, messages.create_message, request)?;
        let message = answer.message?;
        self.talks[index].messages.push(message.id);
        self.told.push(Acknowledged {
            account: self.post.account,
            text: text.clone(),
            conversation: message.conversation_id,
            message: message.id,
            number: Some(message.number),
            cursor: Some(answer.cursor.clone()),
            in_order: true,
        });
        if self.choices.random_bool(0.5) {
            self.look_elsewhere(self.talks[index].id, message.id, text, &answer.cursor).await;
        }
        Some(())
    }

    /// Reads on another server, which must not respond before it has received the write.
    pub(super) async fn look_elsewhere(&self, conversation_id: i64, message: i64, text: String, cursor: &Bytes) {
        let mut request = Request::new(pb::ListMessagesRequest {
            account_id: self.post.account,
            conversation_id,
            page_size: 20,
            ..Default::default()
        });
        request
            .metadata_mut()
            .insert_bin("parley-min-cursor-bin", MetadataValue::from_bytes(cursor));
        let call = self.post.clients_elsewhere().messages;
        if let Ok(Ok(answer)) = tokio::time::timeout(GIVE_UP, call.clone().list_messages(request)).await {
            let found = answer.into_inner().messages.iter().any(|found| found.id == message);
            self.post.note(|history| history.read_backs.push(ReadBack { text, found }));
        }
    }

    /// Sends several messages in one write.
    pub(super) async fn say_much(&mut self, index: usize) -> Option<()> {
        let texts: Vec<String> = (0..self.choices.random_range(2..8)).map(|_| self.text()).collect();
        let conversation_id = self.talks[index].id;
        let request = pb::BatchCreateMessagesRequest {
            account_id: self.post.account,
            request_id: key(),
            messages: texts
                .iter()
                .map(|text| pb::BatchMessage {
                    conversation_id,
                    message: Some(outgoing(text)),
                })
                .collect(),
        };
        let answer = call!(self, messages.batch_create_messages, request)?;
        for (text, message) in texts.into_iter().zip(answer.messages) {
            self.talks[index].messages.push(message.id);
            self.told.push(Acknowledged {
                account: self.post.account,
                text,
                conversation: message.conversation_id,
                message: message.id,
                number: Some(message.number),
                cursor: Some(answer.cursor.clone()),
                in_order: true,
            });
        }
        Some(())
    }

    pub(super) async fn deliver(&mut self, index: usize) -> Option<()> {
        let message = self.talks[index].messages.pop()?;
        let request = pb::UpdateMessageRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: self.talks[index].id,
            message_id: message,
            status: MessageStatus::Delivered.into(),
            ..Default::default()
        };
        let answer = call!(self, messages.update_message, request)?;
        self.done("update_message", "message.updated", ("message", message), answer.cursor);
        Some(())
    }

    pub(super) async fn unsay(&mut self, index: usize) -> Option<()> {
        let message = self.talks[index].messages.pop()?;
        let request = pb::DeleteMessageRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: self.talks[index].id,
            message_id: message,
        };
        let answer = call!(self, messages.delete_message, request)?;
        self.done("delete_message", "message.updated", ("message", message), answer.cursor);
        Some(())
    }
}
