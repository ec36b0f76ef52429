//! A contact's session sees the same over every transport, and nothing that is internal to members.

use std::collections::{BTreeMap, BTreeSet};

use parley_proto::{
    CreateConversationRequest, GetClientConversationRequest, PubsubKey, Role, SubscribePubsubRequest, SubscribePubsubResponse,
    pubsub_service_client::PubsubServiceClient,
};
use reqwest::Method;
use serde_json::{Value as Json, json};
use tonic::Streaming;

use super::{Public, Service, start};
use crate::{
    cable::Cable,
    support::{
        api_fixture::{note, outgoing},
        app::TestApp,
        clients::Clients,
        database::Backend,
        in_time,
        office::{Worker, worker},
        on_both,
    },
};

on_both!(visitors_see_the_same_over_every_transport, verified_visitor_sees_no_internal_data);

/// A mark in everything that is internal to members.
const PLANT: &str = "planted";

/// A mark in what members stored about the contact, which a verified session may see.
const STORED: &str = "stored";

/// The last message of a test.
const END: &str = "the end";

/// What a session received, by transport and kind.
struct Received {
    /// The paths of fields that are not empty.
    shapes: BTreeMap<String, BTreeSet<String>>,
    text: String,
}

impl Received {
    fn note(&mut self, what: &str, json: &Json) {
        self.text += &json.to_string();
        // An ephemeral event is not guaranteed to arrive before the end.
        if what.contains("typing") {
            return;
        }
        paths(json, "", self.shapes.entry(what.to_owned()).or_default());
    }

    fn shapes(&self) -> String {
        let lines = self.shapes.iter().map(|(what, fields)| {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            format!("{what}\n  {}\n", fields.join("\n  "))
        });
        lines.collect()
    }
}

fn paths(json: &Json, at: &str, into: &mut BTreeSet<String>) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                paths(value, &path, into);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| paths(item, at, into)),
        empty if [json!(null), json!(""), json!(0), json!(0.0), json!(false)].contains(empty) => {}
        _ => drop(into.insert(at.to_owned())),
    }
}

async fn pubsub(app: &TestApp, token: &Json) -> Streaming<SubscribePubsubResponse> {
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = SubscribePubsubRequest {
        key: Some(PubsubKey {
            pubsub_token: token.as_str().expect("a token").to_owned(),
            ..PubsubKey::default()
        }),
    };
    let opened = PubsubServiceClient::new(clients.service).subscribe_pubsub(request).await;
    opened.expect("it opens").into_inner()
}

/// Members work on a conversation of the session, which subscribes over both transports and reads over both APIs.
async fn listen(app: &TestApp, verified: bool) -> Received {
    let public = Public::of(app, 1).await;
    let made = public.create("me", public.signed("me-1", json!({"name": "Me"}))).await;
    let mut received = Received {
        shapes: BTreeMap::new(),
        text: String::new(),
    };
    if verified {
        public.prove("me", "me-1").await;
    }
    let contact = format!("/api/v1/accounts/1/contacts/{}", app.fixture().contact_of("me").await);
    let stored = json!({
        "name": format!("{STORED} name"), "phone_number": "+351912345678",
        "additional_attributes": {"company_name": format!("{PLANT} company"), "city": format!("{PLANT} city")},
    });
    assert_eq!(app.http().send("PATCH", &contact, Some(&stored)).await.status, 200);
    let mut stream = pubsub(app, &made["pubsub_token"]).await;
    let mut cable = Cable::open(app).await;
    cable
        .subscribe(&json!({"channel": "RoomChannel", "pubsub_token": made["pubsub_token"]}))
        .await;
    let talk = work(app, &made).await;
    loop {
        let response = in_time("an event", stream.message()).await.expect("no refusal").expect("no end");
        for event in response.ephemeral {
            received.note(
                &format!("gRPC {}", event.kind_name),
                &parley_proto::json::message("parley.v1.EphemeralEvent", &event),
            );
        }
        let events = response.events.into_iter().filter_map(|delivery| delivery.event);
        let mut over = false;
        for event in events {
            let json = parley_proto::json::message("parley.v1.Event", &event);
            over |= json.to_string().contains(END);
            received.note(&format!("gRPC {}", event.kind_name), &json);
        }
        if over {
            break;
        }
    }
    loop {
        let (event, data) = cable.event().await;
        let over = data.to_string().contains(END);
        received.note(&format!("/cable {event}"), &data);
        if over {
            break;
        }
    }
    for path in [
        "/me",
        "/me/conversations",
        &format!("/me/conversations/{talk}"),
        &format!("/me/conversations/{talk}/messages"),
    ] {
        let what = path.replace(&talk.to_string(), "N");
        received.note(&format!("REST {what}"), &public.ask(Method::GET, path, None).await.body);
    }
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = GetClientConversationRequest {
        session: Some(public.session("me")),
        conversation_id: talk,
    };
    let read = clients
        .client
        .clone()
        .get_client_conversation(request)
        .await
        .expect("its own")
        .into_inner();
    let read = parley_proto::json::message("parley.v1.GetClientConversationResponse", &read);
    received.note("gRPC GetClientConversation", &read);
    received
}

/// What members and services do to a conversation, with a mark in every text.
async fn work(app: &TestApp, session: &Json) -> i64 {
    let (fixture, http) = (app.fixture(), app.http());
    let Worker { user, clients, .. } = worker(app, 1, Role::Administrator, "Ravi").await;
    let attribute = |text: &str| prost_types::Struct {
        fields: [(
            format!("{PLANT}_key"),
            prost_types::Value {
                kind: Some(prost_types::value::Kind::StringValue(format!("{PLANT} {text}"))),
            },
        )]
        .into(),
    };
    let request = CreateConversationRequest {
        account_id: 1,
        source_id: Some(session["source_id"].as_str().expect("a session").to_owned()),
        additional_attributes: Some(attribute("referer")),
        custom_attributes: Some(attribute("risk")),
        ..CreateConversationRequest::default()
    };
    let made = clients
        .conversations
        .clone()
        .create_conversation(request)
        .await
        .expect("made")
        .into_inner();
    let talk = made.conversation.expect("always set").id;
    let path = |rest: &str| format!("/conversations/{talk}/{rest}");
    http.post(&path("labels"), &json!({"labels": [format!("{PLANT}-label")]})).await;
    http.post(&path("toggle_priority"), &json!({"priority": "urgent"})).await;
    http.post(&path("assignments"), &json!({"assignee_id": user})).await;
    let team = http.post("/teams", &json!({"name": format!("{PLANT} team")})).await["id"].clone();
    http.post(&path("assignments"), &json!({"team_id": team})).await;
    fixture.sent(talk, note(&format!("{PLANT} note"))).await;
    let agents = fixture.through(clients);
    let said = agents.say(talk, "from an agent").await;
    let read = format!("/api/v1/accounts/1/conversations/{talk}/messages/{}", said.id);
    http.send("PATCH", &read, Some(&json!({"status": "read"}))).await;
    let draft = parley_proto::MessageDraft {
        additional_attributes: Some(attribute("campaign")),
        ..outgoing("from a program")
    };
    let program = Service::limited(app, &[]).await;
    fixture.through(program.clients.clone()).sent(talk, draft).await;
    fixture.hear(talk, "from the contact").await;
    http.post(&path("toggle_typing_status"), &json!({"typing_status": "on"})).await;
    // As a service whose name is internal to members.
    let status = format!("/conversations/{talk}/toggle_status");
    program.send(Method::POST, &status, Some(&json!({"status": "resolved"}))).await;
    agents.say(talk, END).await;
    talk
}

/// Asserts that nothing is internal to members.
fn assert_own(received: &Received) {
    for hidden in [PLANT, "@example.org", "urgent", "limited", "traceparent"] {
        assert!(!received.text.contains(hidden), "{hidden} is in {}", received.text);
    }
}

async fn visitors_see_the_same_over_every_transport(backend: Backend) {
    let app = start(backend, "").await;
    let received = listen(&app, false).await;
    assert_own(&received);
    for hidden in [STORED, "+351912345678"] {
        assert!(!received.text.contains(hidden), "{hidden} is in {}", received.text);
    }
    insta::assert_snapshot!("visitor_view_unverified", received.shapes());
}

async fn verified_visitor_sees_no_internal_data(backend: Backend) {
    let app = start(backend, "").await;
    let received = listen(&app, true).await;
    assert_own(&received);
    assert!(received.text.contains(STORED), "its own contact");
    insta::assert_snapshot!("visitor_view_verified", received.shapes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_visitors_see_labels_and_addresses() {
    let app = start(Backend::Sqlite, "visitor_view").await;
    let received = listen(&app, false).await;
    for shown in [PLANT, "@example.org", "urgent", STORED] {
        assert!(received.text.contains(shown), "{shown}");
    }
}
