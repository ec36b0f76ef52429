//! A writer that issues every command on contacts, conversations, messages and account settings, one after another, and reads its writes
//! back from another server.

mod contacts;
mod conversations;
mod messages;
mod office;

use bytes::Bytes;
use parley_proto::{
    ConversationPriority, ConversationStatus, contact_notes_service_client::ContactNotesServiceClient,
    labels_service_client::LabelsServiceClient,
};
use rand::{Rng as _, rngs::StdRng};
use uuid::Uuid;

use super::{Post, Writing};
use crate::history::Done;

/// A contact that the writer created.
#[derive(Clone, Debug)]
struct Person {
    id: i64,
    /// A name that no other contact ever has.
    name: String,
    source: String,
}

/// A conversation that the writer created.
#[derive(Clone, Debug)]
struct Talk {
    id: i64,
    contact: i64,
    status: ConversationStatus,
    priority: ConversationPriority,
    messages: Vec<i64>,
    assigned: bool,
    of_team: bool,
}

/// The writer and what it has created.
struct Desk {
    post: Post,
    choices: StdRng,
    people: Vec<Person>,
    talks: Vec<Talk>,
    told: Writing,
    number: usize,
    /// A label that it created.
    label: Option<i64>,
    /// A team that it created.
    team: Option<i64>,
    /// Whether a command has succeeded: the writer does not stop before that.
    worked: bool,
}

/// A `request_id`. All retries of a call share it.
fn key() -> String {
    Uuid::new_v4().to_string()
}

/// An object with one string.
fn value(name: &str, text: &str) -> prost_types::Struct {
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    prost_types::Struct {
        fields: [(name.to_owned(), value)].into(),
    }
}

/// Retries a call until it gets a reply: `call!(desk, contacts.create_contact, request)`, or, for a client that is created for the call,
/// `call!(desk, LabelsServiceClient::create_label, request)`.
macro_rules! call {
    ($desk:expr, $service:ident.$method:ident, $request:expr) => {{
        let request = $request;
        $crate::traffic::asking::insist(&$desk.post, stringify!($method), |clients| {
            let request = request.clone();
            async move { clients.$service.clone().$method(request).await }
        })
        .await
    }};
    ($desk:expr, $client:ident::$method:ident, $request:expr) => {{
        let request = $request;
        $crate::traffic::asking::insist(&$desk.post, stringify!($method), |clients| {
            let request = request.clone();
            async move { super::$client::new(clients.service.clone()).$method(request).await }
        })
        .await
    }};
}
use call;

/// Works until the traffic stops.
pub async fn work(post: Post) -> Writing {
    let mut desk = Desk {
        choices: post.choices(),
        post,
        people: Vec::new(),
        talks: Vec::new(),
        told: Vec::new(),
        number: 0,
        label: None,
        team: None,
        worked: false,
    };
    while !desk.post.stopped() || !desk.worked {
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
            35..40 => self.say_much(index).await,
            40..46 => self.status(index).await,
            46..50 => self.priority(index).await,
            50..54 => self.labels(index).await,
            54..58 => self.attributes(index).await,
            58..62 => self.assign(index).await,
            62..66 => self.hand_over(index).await,
            66..69 => self.seen(index).await,
            69..73 => self.deliver(index).await,
            73..76 => self.unsay(index).await,
            76..80 => self.type_something(index).await,
            80..83 => self.rename().await,
            83..85 => self.mark().await,
            85..87 => self.describe().await,
            87..89 => self.note().await,
            89..91 => self.meet().await,
            91..94 => self.open().await,
            94..95 => self.inbox().await,
            95..97 => self.merge().await,
            97..98 => self.end(index).await,
            98..99 => self.label().await,
            _ => self.erase().await,
        };
        // A refusal has already been recorded.
        let _ = done;
    }

    fn done(&mut self, verb: &'static str, kind: &'static str, resource: (&'static str, i64), cursor: Bytes) {
        self.worked = true;
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
}
