//! Open subscriptions whose subject changes: the contact of a visitor's session is merged, an agent's permissions change, or a session
//! ends.

use parley_proto::{
    DeleteContactRequest, DeleteInboxRequest, MergeContactsRequest, PubsubKey, Role, SubscribePubsubRequest, SubscribePubsubResponse,
    event::Resource, pubsub_service_client::PubsubServiceClient,
};
use serde_json::{Value as Json, json};
use tonic::{Code, Status, Streaming};

use super::{Cable, agent};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::fault,
    http::Http,
    in_time,
    office::{set_members, worker},
    on_both,
};

on_both!(
    visitor_stream_continues_after_a_merge,
    subscription_ends_when_its_permissions_change,
    visitor_subscription_ends_with_its_session
);

/// What a visitor receives over gRPC.
struct Stream(Streaming<SubscribePubsubResponse>);

impl Stream {
    async fn open(app: &TestApp, key: PubsubKey) -> Self {
        let grpc = app
            .replicas
            .first()
            .map_or(&app.server.listeners, |replica| &replica.listeners)
            .grpc
            .clone();
        let clients = Clients::new(&grpc, None);
        let request = SubscribePubsubRequest { key: Some(key) };
        let opened = PubsubServiceClient::new(clients.service).subscribe_pubsub(request).await;
        Self(opened.expect("it opens").into_inner())
    }

    async fn next(&mut self) -> Result<SubscribePubsubResponse, Status> {
        let next = in_time("a response", self.0.message()).await?;
        Ok(next.expect("a stream ends with a status"))
    }

    /// The texts of created messages up to `last`, or the status that ends the stream before it.
    async fn texts_until(&mut self, last: &str) -> Result<Vec<String>, Status> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            let response = self.next().await?;
            for event in response.events.into_iter().filter_map(|delivery| delivery.event) {
                if event.kind_name == "message.created"
                    && let Some(Resource::Message(about)) = event.resource
                {
                    texts.extend(about.message.and_then(|message| message.content));
                }
            }
        }
        Ok(texts)
    }

    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

impl Cable {
    async fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            let message = self.until("message.created").await;
            texts.push(message["content"].as_str().unwrap_or_default().to_owned());
        }
        texts
    }
}

struct Visitor {
    path: String,
    record: Json,
    talk: i64,
}

impl Visitor {
    async fn begin(public: &Http, contacts: &str, fields: Json) -> Self {
        let record = public.send("POST", contacts, Some(&fields)).await.body;
        let path = format!("{contacts}/{}", record["source_id"].as_str().expect("a session"));
        let made = public.send("POST", &format!("{path}/conversations"), None).await.body;
        let talk = made["id"].as_i64().expect("a number");
        Self { path, record, talk }
    }

    /// The id of its contact, which visitors do not receive.
    async fn contact(&self, app: &TestApp) -> i64 {
        app.fixture()
            .contact_of(self.record["source_id"].as_str().expect("a session"))
            .await
    }

    fn key(&self) -> PubsubKey {
        PubsubKey {
            pubsub_token: self.record["pubsub_token"].as_str().expect("a token").to_owned(),
            ..PubsubKey::default()
        }
    }
}

async fn contacts_path(app: &TestApp) -> String {
    let inbox = app.http().ask("/inboxes/1").await.1["inbox_identifier"].clone();
    format!("/public/api/v1/inboxes/{}/contacts", inbox.as_str().expect("an identifier"))
}

async fn visitor_stream_continues_after_a_merge(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "followed_merges")] {
        let app = TestApp::builder(backend)
            .replicas(usize::from(backend == Backend::Postgres))
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let (fixture, public, contacts) = (app.fixture(), app.http().with_token(""), contacts_path(&app).await);
        let known = Visitor::begin(&public, &contacts, json!({"name": "Known", "email": "known@example.org"})).await;
        let visitor = Visitor::begin(&public, &contacts, json!({})).await;
        let mut stream = Stream::open(&app, visitor.key()).await;
        let mut cable = Cable::open(&app).await;
        cable
            .subscribe(&json!({"channel": "RoomChannel", "pubsub_token": visitor.record["pubsub_token"]}))
            .await;
        fixture.say(visitor.talk, "before").await;
        assert_eq!(stream.texts_until("before").await.expect("open"), ["before"]);
        assert_eq!(cable.texts_until("before").await, ["before"]);

        // The common case: the visitor submits an address during a chat.
        let given = json!({"email": "known@example.org"});
        assert_eq!(public.send("PATCH", &visitor.path, Some(&given)).await.status, 200);
        let shown = app.http().ask(&format!("/conversations/{}", visitor.talk)).await.1;
        assert_eq!(shown["meta"]["sender"]["id"], known.contact(&app).await, "the contacts are one");
        fixture.say(known.talk, "in another session of the contact").await;
        fixture.say(visitor.talk, "merged").await;
        let received = stream.texts_until("merged").await;
        assert_eq!(received.is_ok(), on, "{received:?}");
        let Ok(received) = received else { continue };
        assert_eq!(received, ["merged"]);
        assert_eq!(cable.texts_until("merged").await, ["merged"]);

        // Members merge that contact into a third one, and the conversation continues at once.
        let third = fixture.person("Third").await;
        let request = MergeContactsRequest {
            account_id: 1,
            base_contact_id: third.contact,
            mergee_contact_id: known.contact(&app).await,
            ..MergeContactsRequest::default()
        };
        fixture.clients.contacts.clone().merge_contacts(request).await.expect("merged");
        for text in ["one", "two", "three"] {
            fixture.say(visitor.talk, text).await;
        }
        assert_eq!(stream.texts_until("three").await.expect("open"), ["one", "two", "three"]);
        assert_eq!(cable.texts_until("three").await, ["one", "two", "three"]);
        let path = format!("/conversations/{}", visitor.talk);
        app.http()
            .post(&format!("{path}/toggle_status"), &json!({"status": "resolved"}))
            .await;
        assert_eq!(cable.until("conversation.status_changed").await["status"], "resolved");
        let typing = json!({"typing_status": "on"});
        app.http().post(&format!("{path}/toggle_typing_status"), &typing).await;
        assert_eq!(cable.until("conversation.typing_on").await["conversation"]["id"], visitor.talk);
        while stream.next().await.expect("open").ephemeral.is_empty() {}
    }
}

async fn subscription_ends_when_its_permissions_change(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_AUTH_CACHE_SECONDS", "1")
        .start()
        .await;
    let user = worker(&app, 1, Role::Agent, "Ravi").await;
    set_members(&app.clients(), 1, 1, &[user.user]).await;
    let identifier = agent(&app.http().with_token(&user.token)).await;
    let key = PubsubKey {
        pubsub_token: identifier["pubsub_token"].as_str().expect("a token").to_owned(),
        account_id: Some(1),
        user_id: Some(user.user),
    };
    let talk = app.fixture().talk().await;
    for text in ["as a member", "as nobody's member"] {
        let mut stream = Stream::open(&app, key.clone()).await;
        let mut cable = Cable::open(&app).await;
        cable.subscribe(&identifier).await;
        if text == "as a member" {
            app.fixture().say(talk, text).await;
            assert_eq!(stream.texts_until(text).await.expect("open"), [text]);
            set_members(&app.clients(), 1, 1, &[]).await;
        } else {
            let role = json!({"role": "administrator"});
            let path = format!("/api/v1/accounts/1/agents/{}", user.user);
            assert_eq!(app.http().send("PUT", &path, Some(&role)).await.status, 200);
        }
        let end = stream.end().await;
        assert_eq!((end.code(), fault(&end).reason.as_str()), (Code::Unavailable, "STREAM_ROTATED"));
        assert!(end.metadata().get_bin("parley-cursor-bin").is_some(), "{end:?}");
        let farewell = cable.until_type("disconnect").await;
        assert_eq!(farewell["reconnect"], true, "{farewell}");
    }
    let path = format!("/api/v1/accounts/1/agents/{}", user.user);
    let mut stream = Stream::open(&app, key).await;
    assert_eq!(app.http().send("DELETE", &path, None).await.status, 200);
    let end = stream.end().await;
    assert!(matches!(end.code(), Code::PermissionDenied | Code::Unauthenticated), "{end:?}");
}

async fn visitor_subscription_ends_with_its_session(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_AUTH_CACHE_SECONDS", "1").start().await;
    let (public, contacts) = (app.http().with_token(""), contacts_path(&app).await);
    let deleted = Visitor::begin(&public, &contacts, json!({})).await;
    let other = Visitor::begin(&public, &contacts, json!({})).await;
    let mut streams = [Stream::open(&app, deleted.key()).await, Stream::open(&app, other.key()).await];
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: deleted.contact(&app).await,
        ..DeleteContactRequest::default()
    };
    app.clients().contacts.delete_contact(request).await.expect("deleted");
    assert_eq!(streams[0].end().await.code(), Code::Unauthenticated);
    app.fixture().say(other.talk, "still here").await;
    assert_eq!(streams[1].texts_until("still here").await.expect("open"), ["still here"]);
    let request = DeleteInboxRequest {
        account_id: 1,
        inbox_id: 1,
        ..DeleteInboxRequest::default()
    };
    app.clients().inboxes.delete_inbox(request).await.expect("deleted");
    assert_eq!(streams[1].end().await.code(), Code::Unauthenticated);
}
