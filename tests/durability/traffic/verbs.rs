//! A writer that does all that can be done to contacts, conversations and messages, one thing after another, and looks at another server
//! whether what it wrote is there.

use bytes::Bytes;
use parley::pb::{self, ConversationPriority, ConversationStatus, MessageStatus};
use prost_types::FieldMask;
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::{Request, metadata::MetadataValue};
use uuid::Uuid;

use super::{GIVE_UP, Post, Writing, asking::insist};
use crate::{
    history::{Acknowledged, Done, ReadBack},
    support::scene::{incoming, outgoing},
};

/// A contact of its own.
#[derive(Clone, Debug)]
struct Person {
    id: i64,
    /// A name that nobody else ever has.
    name: String,
    source: String,
}

/// A conversation of its own.
#[derive(Clone, Debug)]
struct Talk {
    id: i64,
    contact: i64,
    status: ConversationStatus,
    priority: ConversationPriority,
    messages: Vec<i64>,
}

/// The writer, with what it has made.
struct Desk {
    post: Post,
    choices: StdRng,
    people: Vec<Person>,
    talks: Vec<Talk>,
    told: Writing,
    number: usize,
}

/// A `request_id`, which all repetitions of a call have in common.
fn key() -> String {
    Uuid::new_v4().to_string()
}

/// Calls a service until it answers: `call!(desk, contacts.create_contact, request)`.
macro_rules! call {
    ($desk:expr, $service:ident.$method:ident, $request:expr) => {{
        let request = $request;
        insist(&$desk.post, stringify!($method), |clients| {
            let request = request.clone();
            async move { clients.$service.clone().$method(request).await }
        })
        .await
    }};
}

/// Works until the traffic stops.
pub async fn work(post: Post) -> Writing {
    let mut desk = Desk {
        choices: post.choices(),
        post,
        people: Vec::new(),
        talks: Vec::new(),
        told: Vec::new(),
        number: 0,
    };
    while !desk.post.stopped() {
        desk.step().await;
    }
    desk.told
}

impl Desk {
    async fn step(&mut self) {
        if self.people.len() < 3 {
            self.meet().await;
            return;
        }
        if self.talks.len() < 3 {
            self.open().await;
            return;
        }
        let index = self.choices.random_range(0..self.talks.len());
        let done = match self.choices.random_range(0..100) {
            0..35 => self.say(index).await,
            35..42 => self.say_much(index).await,
            42..50 => self.status(index).await,
            50..56 => self.priority(index).await,
            56..62 => self.labels(index).await,
            62..67 => self.attributes(index).await,
            67..71 => self.seen(index).await,
            71..76 => self.deliver(index).await,
            76..80 => self.unsay(index).await,
            80..85 => self.type_something(index).await,
            85..89 => self.rename().await,
            89..92 => self.meet().await,
            92..95 => self.open().await,
            95..97 => self.merge().await,
            97..98 => self.end(index).await,
            98..99 => self.label().await,
            _ => self.erase().await,
        };
        // A refusal was noted.
        let _ = done;
    }

    fn done(&self, verb: &'static str, kind: &'static str, resource: (&'static str, i64), cursor: Bytes) {
        let account = self.post.account;
        self.post.note(|history| {
            history.done.push(Done {
                account,
                verb,
                kind,
                resource,
                cursor,
            });
        });
    }

    async fn meet(&mut self) -> Option<()> {
        let name = format!("Person {}", Uuid::new_v4());
        let request = pb::CreateContactRequest {
            account_id: self.post.account,
            request_id: key(),
            name: name.clone(),
            inbox_id: Some(self.post.inbox),
            ..Default::default()
        };
        let answer = call!(self, contacts.create_contact, request)?;
        let id = answer.contact?.id;
        self.done("create_contact", "contact.created", ("contact", id), answer.cursor);
        self.people.push(Person {
            id,
            name,
            source: answer.contact_inbox?.source_id,
        });
        Some(())
    }

    async fn rename(&mut self) -> Option<()> {
        let person = self.people.choose(&mut self.choices)?.clone();
        self.number += 1;
        let request = pb::UpdateContactRequest {
            account_id: self.post.account,
            request_id: key(),
            contact: Some(pb::Contact {
                id: person.id,
                name: format!("{} the {}th", person.name, self.number),
                ..Default::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
        };
        let answer = call!(self, contacts.update_contact, request)?;
        self.done("update_contact", "contact.updated", ("contact", person.id), answer.cursor);
        Some(())
    }

    async fn merge(&mut self) -> Option<()> {
        // Two that are made for it: whoever is taken in has no conversation that others speak in.
        self.meet().await?;
        self.meet().await?;
        let (mergee, base) = (self.people.pop()?, self.people.pop()?);
        let request = pb::MergeContactsRequest {
            account_id: self.post.account,
            request_id: key(),
            base_contact_id: base.id,
            mergee_contact_id: mergee.id,
        };
        let answer = call!(self, contacts.merge_contacts, request)?;
        self.done("merge_contacts", "contact.merged", ("contact", base.id), answer.cursor);
        Some(())
    }

    /// Deletes a contact with all its conversations.
    async fn erase(&mut self) -> Option<()> {
        let index = self.choices.random_range(0..self.people.len());
        let person = self.people.swap_remove(index);
        self.talks.retain(|talk| talk.contact != person.id);
        let request = pb::DeleteContactRequest {
            account_id: self.post.account,
            request_id: key(),
            contact_id: person.id,
        };
        let answer = call!(self, contacts.delete_contact, request)?;
        self.done("delete_contact", "contact.deleted", ("contact", person.id), answer.cursor);
        let account = self.post.account;
        self.post.note(|history| history.erased.push((account, person.id, person.name)));
        Some(())
    }

    async fn open(&mut self) -> Option<()> {
        let person = self.people.choose(&mut self.choices)?.clone();
        let request = pb::CreateConversationRequest {
            account_id: self.post.account,
            request_id: key(),
            inbox_id: Some(self.post.inbox),
            contact_id: Some(person.id),
            source_id: Some(person.source),
            ..Default::default()
        };
        let answer = call!(self, conversations.create_conversation, request)?;
        let id = answer.conversation?.id;
        self.done("create_conversation", "conversation.created", ("conversation", id), answer.cursor);
        self.talks.push(Talk {
            id,
            contact: person.id,
            status: ConversationStatus::Open,
            priority: ConversationPriority::Unspecified,
            messages: Vec::new(),
        });
        Some(())
    }

    fn text(&mut self) -> String {
        self.number += 1;
        format!("{} message {}", self.post.name, self.number)
    }

    async fn say(&mut self, index: usize) -> Option<()> {
        let text = self.text();
        let draft = match self.choices.random_range(0..3) {
            // Whoever is spoken to again is open again; that would be another change.
            0 if self.talks[index].status == ConversationStatus::Open => incoming(&text),
            1 => crate::support::scene::note(&text),
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

    /// Reads at another server, which must not answer before it has what was written.
    async fn look_elsewhere(&self, conversation_id: i64, message: i64, text: String, cursor: &Bytes) {
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

    /// Several messages in one write.
    async fn say_much(&mut self, index: usize) -> Option<()> {
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

    async fn deliver(&mut self, index: usize) -> Option<()> {
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

    async fn unsay(&mut self, index: usize) -> Option<()> {
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

    async fn status(&mut self, index: usize) -> Option<()> {
        let status = match self.talks[index].status {
            ConversationStatus::Open => ConversationStatus::Resolved,
            _ => ConversationStatus::Open,
        };
        let id = self.talks[index].id;
        let request = pb::UpdateConversationStatusRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            status: status.into(),
            ..Default::default()
        };
        let answer = call!(self, conversations.update_conversation_status, request)?;
        self.talks[index].status = status;
        self.done("update_status", "conversation.status_changed", ("conversation", id), answer.cursor);
        Some(())
    }

    async fn priority(&mut self, index: usize) -> Option<()> {
        let priority = match self.talks[index].priority {
            ConversationPriority::High => ConversationPriority::Low,
            _ => ConversationPriority::High,
        };
        let id = self.talks[index].id;
        let request = pb::UpdateConversationPriorityRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            priority: priority.into(),
        };
        let answer = call!(self, conversations.update_conversation_priority, request)?;
        self.talks[index].priority = priority;
        self.done("update_priority", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    async fn labels(&mut self, index: usize) -> Option<()> {
        self.number += 1;
        let id = self.talks[index].id;
        let request = pb::UpdateConversationLabelsRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            labels: vec![format!("label-{}", self.number)],
        };
        let answer = call!(self, conversations.update_conversation_labels, request)?;
        self.done("update_labels", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    async fn attributes(&mut self, index: usize) -> Option<()> {
        self.number += 1;
        let id = self.talks[index].id;
        let value = prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(format!("value {}", self.number))),
        };
        let request = pb::UpdateConversationAttributesRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: id,
            custom_attributes: Some(prost_types::Struct {
                fields: [("order".to_owned(), value)].into(),
            }),
            ..Default::default()
        };
        let answer = call!(self, conversations.update_conversation_attributes, request)?;
        self.done("update_attributes", "conversation.updated", ("conversation", id), answer.cursor);
        Some(())
    }

    async fn seen(&mut self, index: usize) -> Option<()> {
        let request = pb::MarkConversationSeenRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: self.talks[index].id,
            ..Default::default()
        };
        // Whether there was anything to see depends on what was said, so no event is expected.
        call!(self, conversations.mark_conversation_seen, request).map(drop)
    }

    async fn type_something(&mut self, index: usize) -> Option<()> {
        let (account, id) = (self.post.account, self.talks[index].id);
        self.post.note(|history| history.typed.extend([(account, id)]));
        let request = pb::SetTypingRequest {
            account_id: account,
            conversation_id: id,
            typing: self.choices.random_bool(0.5),
            ..Default::default()
        };
        call!(self, conversations.set_typing, request).map(drop)
    }

    /// Deletes a conversation.
    async fn end(&mut self, index: usize) -> Option<()> {
        let talk = self.talks.swap_remove(index);
        let request = pb::DeleteConversationRequest {
            account_id: self.post.account,
            request_id: key(),
            conversation_id: talk.id,
        };
        let answer = call!(self, conversations.delete_conversation, request)?;
        self.done(
            "delete_conversation",
            "conversation.deleted",
            ("conversation", talk.id),
            answer.cursor,
        );
        Some(())
    }

    async fn label(&mut self) -> Option<()> {
        self.number += 1;
        let request = pb::CreateLabelRequest {
            account_id: self.post.account,
            request_id: key(),
            label: Some(pb::Label {
                title: format!("made-{}", self.number),
                ..Default::default()
            }),
        };
        let answer = insist(&self.post, "create_label", |clients| {
            let request = request.clone();
            async move {
                let mut labels = pb::labels_service_client::LabelsServiceClient::new(clients.service.clone());
                labels.create_label(request).await
            }
        })
        .await?;
        self.done("create_label", "label.created", ("label", answer.label?.id), answer.cursor);
        Some(())
    }
}
