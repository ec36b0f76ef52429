//! Each kind of event as the WebSocket delivers it, to agents and to contact sessions.

use std::time::Duration;

use parley_proto::{CreateConversationRequest, MessageDraft, Role};
use serde_json::{Value as Json, json};

use super::{Cable, agent, keys};
use crate::support::{
    api_fixture::{note, outgoing},
    app::TestApp,
    database::Backend,
    http::Http,
    office::worker,
    on_both,
};

on_both!(
    agents_receive_conversation_events,
    agents_receive_contact_events,
    agents_receive_typing_and_presence,
    verified_sessions_of_a_contact_receive_each_others_events
);

async fn agents_receive_conversation_events(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (fixture, http) = (app.fixture(), app.http());
    let ravi = worker(&app, 1, Role::Administrator, "Ravi").await;
    let mut cable = Cable::open(&app).await;
    cable.subscribe(&agent(&http).await).await;
    let talk = fixture.talk().await;
    let path = |rest: &str| format!("/conversations/{talk}/{rest}");

    let sent = fixture.say(talk, "first").await;
    let replied = cable.until("first.reply.created").await;
    assert_eq!((&replied["id"], &replied["account_id"]), (&json!(talk), &json!(1)));
    let read = format!("/api/v1/accounts/1/conversations/{talk}/messages/{}", sent.id);
    http.send("PATCH", &read, Some(&json!({"status": "read"}))).await;
    let updated = cable.until("message.updated").await;
    assert_eq!(updated["previous_changes"]["status"], json!(["sent", "read"]), "{updated}");
    assert_eq!((&updated["id"], &updated["status"]), (&json!(sent.id), &json!("read")));

    http.post(&path("assignments"), &json!({"assignee_id": ravi.user})).await;
    let assigned = cable.until("assignee.changed").await;
    assert_eq!(assigned["meta"]["assignee"]["id"], ravi.user);
    assert!(
        assigned.get("changed_attributes").is_none() && assigned.get("performer").is_none(),
        "{assigned}"
    );
    let team = http.post("/teams", &json!({"name": "orders"})).await["id"].clone();
    http.post(&path("assignments"), &json!({"team_id": team})).await;
    assert_eq!(
        cable.until("team.changed").await["meta"]["team"],
        json!({"id": team, "name": "orders"})
    );
    http.post(&path("labels"), &json!({"labels": ["late"]})).await;
    assert_eq!(cable.until("conversation.updated").await["labels"], json!(["late"]));

    let public = http.with_token("");
    let inbox = http.ask("/inboxes/1").await.1["inbox_identifier"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let source = cable_source(&http, talk).await;
    let seen = format!("/public/api/v1/inboxes/{inbox}/contacts/{source}/conversations/{talk}/update_last_seen");
    public.send("POST", &seen, None).await;
    assert_eq!(cable.until("conversation.read").await["id"], talk);

    // A note that mentions another user, and one that mentions the subscriber.
    let profile = http.send("GET", "/api/v1/profile", None).await.body["id"]
        .as_i64()
        .expect("a number");
    fixture.sent(talk, note(&format!("(mention://user/{}/Ravi) look", ravi.user))).await;
    fixture
        .sent(talk, note(&format!("(mention://user/{profile}/Administrator) look")))
        .await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|event| event != "conversation.mentioned") {
        heard.push(cable.event().await.0);
    }
    assert_eq!(heard.iter().filter(|event| *event == "message.created").count(), 2, "{heard:?}");
}

async fn cable_source(http: &Http, talk: i64) -> String {
    let shown = http.ask(&format!("/conversations/{talk}")).await.1;
    let person = shown["meta"]["sender"]["id"].clone();
    let contact = http.ask(&format!("/contacts/{person}")).await.1;
    contact["payload"]["contact_inboxes"][0]["source_id"]
        .as_str()
        .expect("a session")
        .to_owned()
}

async fn agents_receive_contact_events(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, http) = (app.fixture(), app.http());
    let mut cable = Cable::open(&app).await;
    cable.subscribe(&agent(&http).await).await;
    let (base, other) = (fixture.person("Base").await, fixture.person("Other").await);
    let talk = fixture.conversation(&other).await.id;
    let path = |contact: i64| format!("/api/v1/accounts/1/contacts/{contact}");
    http.send("PUT", &path(base.contact), Some(&json!({"name": "Base Rao"}))).await;
    let updated = cable.until("contact.updated").await;
    assert_eq!(
        (&updated["id"], &updated["name"], &updated["account_id"]),
        (&json!(base.contact), &json!("Base Rao"), &json!(1))
    );
    let merge = json!({"base_contact_id": base.contact, "mergee_contact_id": other.contact});
    http.post("/actions/contact_merge", &merge).await;
    let mut moved: Option<Json> = None;
    let merged = loop {
        match cable.event().await {
            (event, data) if event == "contact.merged" => break data,
            (event, data) if event == "conversation.contact_changed" => moved = Some(data),
            _ => {}
        }
    };
    assert_eq!(merged["account_id"], 1, "{merged}");
    let moved = match moved {
        Some(moved) => moved,
        None => cable.until("conversation.contact_changed").await,
    };
    assert_eq!((&moved["id"], &moved["meta"]["sender"]["id"]), (&json!(talk), &json!(base.contact)));
    http.send("DELETE", &path(base.contact), None).await;
    // The contact that was merged into the other was deleted first.
    let gone = [cable.until("contact.deleted").await, cable.until("contact.deleted").await];
    assert_eq!([&gone[0]["id"], &gone[1]["id"]], [&json!(other.contact), &json!(base.contact)]);
    let deleted = &gone[1];
    assert!(
        deleted["account_id"] == 1 && deleted.get("name").is_none(),
        "nothing of whom is left: {deleted}"
    );
}

async fn agents_receive_typing_and_presence(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let public = http.with_token("");
    let inbox = http.ask("/inboxes/1").await.1["inbox_identifier"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let contacts = format!("/public/api/v1/inboxes/{inbox}/contacts");
    let made = public.send("POST", &contacts, Some(&json!({"name": "Asha"}))).await.body;
    let source = made["source_id"].as_str().expect("a session");
    let conversations = format!("{contacts}/{source}/conversations");
    let talk = public.send("POST", &conversations, None).await.body["id"]
        .as_i64()
        .expect("a number");
    let contact = http.ask(&format!("/conversations/{talk}")).await.1["meta"]["sender"]["id"].clone();

    let mut theirs = Cable::open(&app).await;
    let session = json!({"channel": "RoomChannel", "pubsub_token": made["pubsub_token"]});
    theirs.subscribe(&session).await;
    let (mut cable, identifier) = (Cable::open(&app).await, agent(&http).await);
    let present = cable.subscribe(&identifier).await;
    assert_eq!(present["contacts"], json!({contact.to_string(): "online"}), "{present}");

    let typing = format!("{conversations}/{talk}/toggle_typing");
    for (status, event) in [("on", "conversation.typing_on"), ("off", "conversation.typing_off")] {
        public.send("POST", &typing, Some(&json!({"typing_status": status}))).await;
        let told = cable.until(event).await;
        assert_eq!(keys(&told), ["account_id", "conversation", "is_private", "user"]);
        assert_eq!(
            (&told["conversation"]["id"], &told["user"]["type"], &told["user"]["id"]),
            (&json!(talk), &json!("contact"), &contact)
        );
    }
    // The contact sends nothing more, so its presence expires after twenty seconds.
    tokio::time::sleep(Duration::from_secs(21)).await;
    cable.say("message", &identifier, Some(&json!({"action": "update_presence"}))).await;
    let present = cable.until("presence.update").await;
    assert_eq!((&present["contacts"], &present["users"]), (&json!({}), &json!({"1": "online"})));
}

async fn verified_sessions_of_a_contact_receive_each_others_events(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, http) = (app.fixture(), app.http());
    let contact = fixture.person("Asha").await.contact;
    let begin = |source: &str, hmac_verified: bool| {
        let request = CreateConversationRequest {
            account_id: 1,
            inbox_id: Some(fixture.inbox),
            contact_id: Some(contact),
            source_id: Some(source.to_owned()),
            hmac_verified,
            ..CreateConversationRequest::default()
        };
        let mut conversations = fixture.clients.conversations.clone();
        async move {
            let made = conversations.create_conversation(request).await.expect("made").into_inner();
            made.conversation.expect("always set").id
        }
    };
    let (own, verified, unverified) = (begin("own", true).await, begin("second", true).await, begin("third", false).await);
    let inbox = http.ask("/inboxes/1").await.1["inbox_identifier"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let me = format!("/public/api/v1/inboxes/{inbox}/contacts/own");
    let shown = http.with_token("").send("GET", &me, None).await.body;
    let mut cable = Cable::open(&app).await;
    cable
        .subscribe(&json!({"channel": "RoomChannel", "pubsub_token": shown["pubsub_token"]}))
        .await;
    for (talk, text) in [
        (unverified, "to a session that nobody vouched for"),
        (verified, "to the other"),
        (own, "to this one"),
    ] {
        let draft: MessageDraft = outgoing(text);
        fixture.sent(talk, draft).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(cable.until("message.created").await["conversation_id"].clone());
    }
    assert_eq!(heard, [json!(verified), json!(own)]);
}
