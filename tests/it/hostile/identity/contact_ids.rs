//! Unverified sessions see a substitute for the id of their contact: a low id would reveal that a contact with the address already existed.

use std::collections::BTreeSet;

use parley_proto::{
    CreateClientSessionRequest, GetClientConversationRequest, GetClientSessionRequest, ListClientConversationsRequest,
    ListClientMessagesRequest, PubsubKey, SubscribePubsubRequest, UpdateClientSessionRequest, json::message as as_json,
    pubsub_service_client::PubsubServiceClient,
};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::{Public, contact, start};
use crate::{
    cable::Cable,
    support::{app::TestApp, clients::Clients, database::Backend, in_time, on_both},
};

on_both!(
    ids_do_not_reveal_whether_a_contact_exists,
    session_id_survives_a_move_to_another_contact
);

/// The last message of a session.
const END: &str = "the end";

/// The ids that unverified sessions see: above all sequential ids, and exact in JavaScript.
const SHOWN: std::ops::Range<i64> = (1 << 52)..(1 << 53);

/// Everything that a session saw, by transport.
struct Shown {
    /// The paths of fields with a value.
    paths: BTreeSet<String>,
    /// The values of fields that hold a contact's id, with their paths.
    ids: Vec<(String, i64)>,
    /// The paths of fields that hold a contact's version.
    versions: Vec<String>,
}

impl Shown {
    fn note(&mut self, what: &str, json: &Json) {
        self.walk(what, json);
    }

    fn walk(&mut self, path: &str, json: &Json) {
        match json {
            Json::Object(map) => {
                let by_member = path.ends_with("actor") && map.get("type").and_then(Json::as_str) != Some("ACTOR_TYPE_CONTACT");
                for (key, value) in map {
                    let path = format!("{path}.{key}");
                    if !(by_member && key == "id") {
                        self.walk(&path, value);
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.walk(path, item)),
            Json::Null => {}
            _ if [json!(""), json!(0), json!("0"), json!(false)].contains(json) => {}
            value => {
                self.paths.insert(path.to_owned());
                let of_contact = ["contact.id", "contact_id", "sender.id", "sender_id", "actor.id", "session.id"];
                if of_contact.iter().any(|end| path.ends_with(end)) {
                    let id = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                    self.ids.push((path.to_owned(), id.unwrap_or_else(|| panic!("{path} is {value}"))));
                }
                if path.ends_with("contact.version") {
                    self.versions.push(path.to_owned());
                }
            }
        }
    }
}

/// A visitor submits an address, sends messages, and reads everything.
async fn visit(app: &TestApp, public: &Public, source: &str, email: &str) -> Shown {
    let mut shown = Shown {
        paths: BTreeSet::new(),
        ids: Vec::new(),
        versions: Vec::new(),
    };
    let made = public.create(source, json!({"email": email})).await;
    shown.note("REST session", &made);
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = SubscribePubsubRequest {
        key: Some(PubsubKey {
            pubsub_token: made["pubsub_token"].as_str().expect("a token").to_owned(),
            ..PubsubKey::default()
        }),
    };
    let mut pubsub = PubsubServiceClient::new(clients.service.clone());
    let mut stream = pubsub.subscribe_pubsub(request).await.expect("it opens").into_inner();
    let mut cable = Cable::open(app).await;
    let present = cable
        .subscribe(&json!({"channel": "RoomChannel", "pubsub_token": made["pubsub_token"]}))
        .await;
    assert_eq!(present.get("contacts"), None, "{present}");
    let talk = public.talk(source).await;
    let one = format!("/{source}/conversations/{talk}");
    for text in ["hello", END] {
        let said = public
            .ask(Method::POST, &format!("{one}/messages"), Some(&json!({"content": text})))
            .await;
        shown.note("REST message", &said.body);
    }
    shown.note("REST session", &public.update(source, json!({"name": "some one"})).await);
    for path in [format!("/{source}/conversations"), one.clone(), format!("{one}/messages")] {
        let what = path.replace(source, "S").replace(&talk.to_string(), "N");
        shown.note(&format!("REST {what}"), &public.ask(Method::GET, &path, None).await.body);
    }
    shown.note("REST session", &public.ask(Method::GET, &format!("/{source}"), None).await.body);
    over_grpc(&clients, public, (source, talk), &mut shown).await;
    loop {
        let response = in_time("an event", stream.message()).await.expect("no refusal").expect("no end");
        let events = response.events.into_iter().filter_map(|delivery| delivery.event);
        let mut over = false;
        for event in events {
            let json = as_json("parley.v1.Event", &event);
            over |= json.to_string().contains(END);
            shown.note(&format!("gRPC {}", event.kind_name), &json);
        }
        if over {
            break;
        }
    }
    loop {
        let (event, data) = cable.event().await;
        shown.note(&format!("/cable {event}"), &data);
        if data.to_string().contains(END) {
            break;
        }
    }
    shown
}

async fn over_grpc(clients: &Clients, public: &Public, (source, talk): (&str, i64), shown: &mut Shown) {
    let mut client = clients.client.clone();
    let session = Some(public.session(source));
    let request = CreateClientSessionRequest {
        inbox_identifier: public.session(source).inbox_identifier,
        source_id: Some(source.to_owned()),
        ..CreateClientSessionRequest::default()
    };
    let answer = client.create_client_session(request).await.expect("it is there").into_inner();
    shown.note("gRPC found", &as_json("parley.v1.CreateClientSessionResponse", &answer));
    let request = GetClientSessionRequest {
        session: session.clone(),
        ..GetClientSessionRequest::default()
    };
    let answer = client.get_client_session(request).await.expect("it is there").into_inner();
    shown.note("gRPC read", &as_json("parley.v1.GetClientSessionResponse", &answer));
    let request = UpdateClientSessionRequest {
        session: session.clone(),
        name: Some("any one".to_owned()),
        ..UpdateClientSessionRequest::default()
    };
    let answer = client.update_client_session(request).await.expect("it is changed").into_inner();
    shown.note("gRPC changed", &as_json("parley.v1.UpdateClientSessionResponse", &answer));
    let request = ListClientConversationsRequest {
        session: session.clone(),
        ..ListClientConversationsRequest::default()
    };
    let answer = client.list_client_conversations(request).await.expect("its own").into_inner();
    shown.note("gRPC conversations", &as_json("parley.v1.ListClientConversationsResponse", &answer));
    let request = GetClientConversationRequest {
        session: session.clone(),
        conversation_id: talk,
    };
    let answer = client.get_client_conversation(request).await.expect("its own").into_inner();
    shown.note("gRPC conversation", &as_json("parley.v1.GetClientConversationResponse", &answer));
    let request = ListClientMessagesRequest {
        session,
        conversation_id: talk,
        ..ListClientMessagesRequest::default()
    };
    let answer = client.list_client_messages(request).await.expect("its own").into_inner();
    shown.note("gRPC messages", &as_json("parley.v1.ListClientMessagesResponse", &answer));
}

/// The only contact id that a session saw anywhere.
fn one_id(shown: &Shown) -> i64 {
    // The responses to 7 calls over REST and 6 over gRPC, and the events of the conversation and its messages over two transports.
    assert!(shown.ids.len() > 25, "{:?}", shown.ids);
    let first = shown.ids[0].1;
    let other: Vec<_> = shown.ids.iter().filter(|(_, id)| *id != first).collect();
    assert!(other.is_empty(), "{first} and {other:?}");
    first
}

async fn two_visits(app: &TestApp) -> (Shown, Shown, [i64; 2]) {
    let public = Public::of(app, 1).await;
    contact(app, 1, json!({"name": "Alice", "email": "alice@x.org"})).await;
    contact(app, 1, json!({"name": "Bob", "email": "bob@x.org"})).await;
    let known = visit(app, &public, "known", "alice@x.org").await;
    let new = visit(app, &public, "new", "new@x.org").await;
    (
        known,
        new,
        [app.fixture().contact_of("known").await, app.fixture().contact_of("new").await],
    )
}

async fn ids_do_not_reveal_whether_a_contact_exists(backend: Backend) {
    let app = start(backend, "").await;
    let (known, new, stored) = two_visits(&app).await;
    let shown = [one_id(&known), one_id(&new)];
    assert_ne!(shown[0], shown[1]);
    for id in shown {
        assert!(SHOWN.contains(&id) && !stored.contains(&id), "{id}");
    }
    assert_eq!(known.versions, Vec::<String>::new());
    assert_eq!(known.paths, new.paths, "a known and a new address are shown the same fields");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_known_address_has_an_old_id() {
    let app = start(Backend::Sqlite, "visitor_view").await;
    let (known, new, stored) = two_visits(&app).await;
    assert_eq!([one_id(&known), one_id(&new)], stored);
    assert!(stored[0] < stored[1] && !known.versions.is_empty());
}

async fn session_id_survives_a_move_to_another_contact(backend: Backend) {
    let app = start(backend, "").await;
    let alice = contact(
        &app,
        1,
        json!({"name": "Alice", "email": "alice@x.org", "identifier": "alice-identifier"}),
    )
    .await;
    let public = Public::of(&app, 1).await;
    let made = public.create("s", json!({})).await["id"].clone();
    let moved = public.update("s", json!({"email": "alice@x.org"})).await["id"].clone();
    assert_eq!((app.fixture().contact_of("s").await, &moved), (alice, &made));
    let unknown = public.create("t", json!({})).await["id"].clone();
    let stays = public.update("t", json!({"email": "nobody@x.org"})).await["id"].clone();
    assert_eq!(stays, unknown);
    // A valid signature reveals the contact's id.
    let before = public.create("v", public.signed("alice-identifier", json!({}))).await["id"].clone();
    assert_ne!(before, alice);
    assert_eq!(public.prove("v", "alice-identifier").await.body["id"], alice);
}
