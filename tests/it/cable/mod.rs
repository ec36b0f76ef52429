//! The WebSocket at `/cable`, as front ends and mobile clients use it.

mod availability;
mod events;
mod identifiers;
mod merged;
mod quiet;

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use parley_proto::{CreateMembershipRequest, CreateTokenRequest, CreateUserRequest, Role, TokenKind};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{
    proxy::Line,
    support::{api_fixture::incoming, app::TestApp, database::Backend, http::Http, in_time, link::behind_a_proxy, on_both},
};

on_both!(
    agent_receives_events_of_the_account,
    contact_receives_only_its_own_conversations,
    subscription_without_a_valid_token_is_rejected
);

/// A WebSocket connection.
pub struct Cable {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Cable {
    /// Connects to the REST gateway of the replica if there is one, otherwise of the server.
    pub async fn open(app: &TestApp) -> Self {
        let listeners = app.replicas.first().map_or(&app.server.listeners, |replica| &replica.listeners);
        let mut request = format!("ws://{}/cable", listeners.http).into_client_request().expect("an address");
        let protocol = "actioncable-v1-json, actioncable-unsupported".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("a WebSocket");
        assert_eq!(response.headers()["sec-websocket-protocol"], "actioncable-v1-json");
        let mut cable = Self { socket };
        assert_eq!(cable.next().await, json!({"type": "welcome"}));
        cable
    }

    async fn say(&mut self, command: &str, identifier: &Json, data: Option<&Json>) {
        let mut said = json!({"command": command, "identifier": identifier.to_string()});
        if let Some(data) = data {
            said["data"] = json!(data.to_string());
        }
        self.socket.send(Message::text(said.to_string())).await.expect("the server listens");
    }

    /// The next frame of any kind.
    async fn next(&mut self) -> Json {
        loop {
            let frame = in_time("a frame", self.socket.next()).await.expect("no end").expect("a frame");
            if let Message::Text(text) = frame {
                return serde_json::from_str(text.as_str()).expect("JSON");
            }
        }
    }

    /// The next frame that is not a ping.
    async fn told(&mut self) -> Json {
        loop {
            let frame = self.next().await;
            if frame["type"] != "ping" {
                return frame;
            }
        }
    }

    /// Subscribes, and receives the confirmation and the first presence update.
    pub async fn subscribe(&mut self, identifier: &Json) -> Json {
        self.say("subscribe", identifier, None).await;
        let confirmed = self.told().await;
        assert_eq!(
            confirmed,
            json!({"identifier": identifier.to_string(), "type": "confirm_subscription"})
        );
        let (event, present) = self.event().await;
        assert_eq!(event, "presence.update");
        present
    }

    /// The next event: its name and its data.
    pub async fn event(&mut self) -> (String, Json) {
        let frame = self.told().await;
        let message = &frame["message"];
        (
            message["event"].as_str().unwrap_or_else(|| panic!("no event: {frame}")).to_owned(),
            message["data"].clone(),
        )
    }

    /// The data of the next event with this name. Other events are skipped.
    pub async fn until(&mut self, name: &str) -> Json {
        // Pings never stop, so reading alone would not time out.
        in_time(name, async {
            loop {
                let (event, data) = self.event().await;
                if event == name {
                    return data;
                }
            }
        })
        .await
    }
}

fn keys(json: &Json) -> Vec<&str> {
    let mut keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

pub async fn agent(http: &Http) -> Json {
    let profile = http.send("GET", "/api/v1/profile", None).await.body;
    json!({"channel": "RoomChannel", "pubsub_token": profile["pubsub_token"], "account_id": 1, "user_id": profile["id"]})
}

async fn agent_receives_events_of_the_account(backend: Backend) {
    let app = TestApp::builder(backend)
        .replicas(usize::from(backend == Backend::Postgres))
        .start()
        .await;
    let (fixture, identifier) = (app.fixture(), agent(&app.http()).await);
    let mut cable = Cable::open(&app).await;
    let present = cable.subscribe(&identifier).await;
    assert_eq!(present, json!({"account_id": 1, "users": {"1": "online"}, "contacts": {}}));

    let talk = fixture.talk().await;
    let contact = cable.until("contact.created").await;
    assert_eq!(
        (&contact["name"], &contact["account_id"], &contact["type"]),
        (&json!("Asha Rao"), &json!(1), &json!("contact"))
    );
    let conversation = cable.until("conversation.created").await;
    assert_eq!(
        keys(&conversation),
        [
            "account_id",
            "additional_attributes",
            "agent_last_seen_at",
            "can_reply",
            "channel",
            "contact_inbox",
            "contact_last_seen_at",
            "created_at",
            "custom_attributes",
            "first_reply_created_at",
            "id",
            "inbox_id",
            "labels",
            "last_activity_at",
            "messages",
            "meta",
            "performer",
            "priority",
            "snoozed_until",
            "status",
            "timestamp",
            "unread_count",
            "updated_at",
            "waiting_since",
        ]
    );
    assert!(
        conversation["contact_inbox"].get("pubsub_token").is_none(),
        "a credential of somebody else's"
    );
    let sent = fixture.say(talk, "Your order left today.").await;
    let message = cable.until("message.created").await;
    assert_eq!(
        keys(&message),
        [
            "account_id",
            "additional_attributes",
            "content",
            "content_attributes",
            "content_type",
            "conversation",
            "conversation_id",
            "created_at",
            "external_source_ids",
            "id",
            "inbox_id",
            "message_type",
            "performer",
            "private",
            "processed_message_content",
            "sender",
            "sender_id",
            "sender_type",
            "sentiment",
            "source_id",
            "status",
            "updated_at",
        ]
    );
    assert_eq!((&message["id"], &message["message_type"]), (&json!(sent.id), &json!(1)));
    assert_eq!(
        (&message["content"], &message["conversation_id"]),
        (&json!("Your order left today."), &json!(talk))
    );

    let path = format!("/conversations/{talk}/toggle_status");
    app.http().post(&path, &json!({"status": "resolved"})).await;
    let resolved = cable.until("conversation.status_changed").await;
    assert_eq!((&resolved["id"], &resolved["status"]), (&json!(talk), &json!("resolved")));
    app.http().post("/labels", &json!({"title": "vip"})).await;
    let keys = cable.until("account.cache_invalidated").await;
    assert_eq!(keys["cache_keys"], app.http().ask("/cache_keys").await.1["cache_keys"]);

    // Pings arrive by themselves; presence arrives on request.
    while cable.next().await["type"] != "ping" {}
    cable.say("message", &identifier, Some(&json!({"action": "update_presence"}))).await;
    assert_eq!(cable.until("presence.update").await["users"], json!({"1": "online"}));
    cable.say("unsubscribe", &identifier, None).await;
    // Commands are handled in order, so the rejection shows that the unsubscribe has been handled.
    let again = agent(&app.http().with_token("nobody's")).await;
    cable.say("subscribe", &again, None).await;
    assert_eq!(cable.until_type("reject_subscription").await["identifier"], again.to_string());
    fixture.say(talk, "nobody hears this").await;
    while cable.next().await["type"] != "ping" {}
}

impl Cable {
    /// The next frame of this type. Other frames are skipped.
    async fn until_type(&mut self, kind: &str) -> Json {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }
}

async fn contact_receives_only_its_own_conversations(backend: Backend) {
    let app = TestApp::builder(backend)
        .replicas(usize::from(backend == Backend::Postgres))
        .start()
        .await;
    let fixture = app.fixture();
    let public = app.http().with_token("");
    let inbox = app.http().ask("/inboxes/1").await.1["inbox_identifier"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let contacts = format!("/public/api/v1/inboxes/{inbox}/contacts");
    let made = public.send("POST", &contacts, Some(&json!({"name": "Asha"}))).await.body;
    let (token, source) = (&made["pubsub_token"], made["source_id"].as_str().expect("a session"));
    let conversations = format!("{contacts}/{source}/conversations");
    let talk = public.send("POST", &conversations, None).await.body["id"]
        .as_i64()
        .expect("a number");
    let elsewhere = fixture.talk().await;

    let mut cable = Cable::open(&app).await;
    let identifier = json!({"channel": "RoomChannel", "pubsub_token": token});
    let present = cable.subscribe(&identifier).await;
    assert_eq!(keys(&present), ["account_id", "users"], "contacts are not told who else is there");
    // Messages of other contacts, notes and its own typing: none of them reaches the contact before the reply does.
    fixture.say(elsewhere, "to somebody else").await;
    let note = parley_proto::MessageDraft {
        private: true,
        ..crate::support::api_fixture::outgoing("a note")
    };
    fixture.sent(talk, note).await;
    let typing = |body: Json| {
        let (http, path) = (app.http(), format!("/conversations/{talk}/toggle_typing_status"));
        async move { http.post(&path, &body).await }
    };
    typing(json!({"typing_status": "on", "is_private": true})).await;
    public
        .send(
            "POST",
            &format!("{conversations}/{talk}/toggle_typing"),
            Some(&json!({"typing_status": "on"})),
        )
        .await;
    fixture.say(talk, "to you").await;
    let mut heard = Vec::new();
    loop {
        let (event, data) = cable.event().await;
        heard.push(event.clone());
        if event == "message.created" {
            assert_eq!(data["content"], "to you");
            break;
        }
        assert_eq!(data["id"], talk, "{event}: {data}");
    }
    assert!(!heard.iter().any(|event| event.starts_with("conversation.typing")), "{heard:?}");
    typing(json!({"typing_status": "on"})).await;
    let on = cable.until("conversation.typing_on").await;
    assert_eq!(
        (&on["conversation"]["id"], &on["user"]["type"], &on["is_private"]),
        (&json!(talk), &json!("user"), &json!(false))
    );

    fixture.sent(talk, incoming("from the contact")).await;
    assert_eq!(cable.until("message.created").await["content"], "from the contact");
}

async fn subscription_without_a_valid_token_is_rejected(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let mut accounts = app.platform().accounts;
    let request = CreateUserRequest {
        name: "Ravi".to_owned(),
        email: "ravi@example.org".to_owned(),
        ..CreateUserRequest::default()
    };
    let user = accounts
        .create_user(request)
        .await
        .expect("a user")
        .into_inner()
        .user
        .expect("always set")
        .id;
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user),
        ..CreateTokenRequest::default()
    };
    let secret = accounts.create_token(request).await.expect("a token").into_inner().secret;
    let outside = agent(&app.http().with_token(&secret)).await;
    let good = agent(&app.http()).await;
    let mut cable = Cable::open(&app).await;
    let mut other_user = good.clone();
    other_user["user_id"] = json!(user);
    let mut other_account = good.clone();
    other_account["account_id"] = json!(99);
    let mut other_channel = good.clone();
    other_channel["channel"] = json!("Secrets");
    for identifier in [
        json!({"channel": "RoomChannel", "pubsub_token": "nobody's"}),
        // A user's token without the user id, and the token of a user who is not a member.
        json!({"channel": "RoomChannel", "pubsub_token": good["pubsub_token"]}),
        outside.clone(),
        other_user,
        other_account,
        other_channel,
    ] {
        cable.say("subscribe", &identifier, None).await;
        let rejected = cable.told().await;
        assert_eq!(
            rejected,
            json!({"identifier": identifier.to_string(), "type": "reject_subscription"})
        );
    }
    // An invalid frame is ignored, and the connection remains usable.
    cable.socket.send(Message::text("{nonsense")).await.expect("the server listens");
    cable.subscribe(&good).await;
    // The user becomes a member and opens a connection.
    let request = CreateMembershipRequest {
        account_id: 1,
        user_id: user,
        role: Role::Agent.into(),
        ..CreateMembershipRequest::default()
    };
    accounts.create_membership(request).await.expect("a member");
    let mut theirs = Cable::open(&app).await;
    theirs.subscribe(&outside).await;
    // An agent who is not a member of the inbox receives nothing about it.
    app.fixture().talk().await;
    cable.until("conversation.created").await;
    theirs.say("message", &outside, Some(&json!({"action": "update_presence"}))).await;
    loop {
        let (event, data) = theirs.event().await;
        assert!(!event.starts_with("conversation."), "{event}: {data}");
        if event == "presence.update" {
            return;
        }
    }
}

/// If a new request replaced the report in progress, no report would ever complete while a client asks faster than the database responds.
#[tokio::test]
async fn presence_reports_complete_under_rapid_requests_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[]).await;
    let identifier = agent(&app.http()).await;
    let mut cable = Cable::open(&app).await;
    cable.subscribe(&identifier).await;
    proxy.set(Line::Late(Duration::from_millis(100)));
    // The fastest rate that a client may sustain.
    for _ in 0..1000 {
        cable.say("message", &identifier, Some(&json!({"action": "update_presence"}))).await;
        let heard = tokio::time::timeout(Duration::from_millis(50), cable.next()).await;
        if heard.is_ok_and(|frame| frame["message"]["event"] == "presence.update") {
            return;
        }
    }
    panic!("nobody told in {:?}", Duration::from_millis(50) * 1000);
}

/// A server that shuts down asks clients to reconnect, and open connections do not delay the shutdown.
#[tokio::test]
async fn draining_server_asks_clients_to_reconnect() {
    let mut app = TestApp::start(Backend::Sqlite).await;
    let identifier = agent(&app.http()).await;
    let (mut hearing, mut idle) = (Cable::open(&app).await, Cable::open(&app).await);
    hearing.subscribe(&identifier).await;
    app.server.terminate();
    for cable in [&mut hearing, &mut idle] {
        let farewell = cable.until_type("disconnect").await;
        assert_eq!(
            farewell,
            json!({"type": "disconnect", "reason": "server_restart", "reconnect": true})
        );
    }
    let ended = app.server.wait().await;
    assert!(ended.success(), "{ended:?}\n{}", app.server.log());
}
