//! Identifiers and data of frames in the forms that JavaScript clients send.

use futures_util::SinkExt as _;
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Cable, agent};
use crate::support::{app::TestApp, database::Backend, on_both};

on_both!(
    ids_may_be_numbers_or_strings,
    blank_user_id_means_a_contact_and_ignores_the_account,
    data_may_be_a_string_an_object_or_absent
);

async fn answer(cable: &mut Cable, identifier: &Json) -> Json {
    cable.say("subscribe", identifier, None).await;
    let text = identifier.to_string();
    loop {
        let frame = cable.told().await;
        // Skip the first presence update of an earlier subscription.
        if frame["identifier"] == text && frame.get("type").is_some() {
            return frame["type"].clone();
        }
    }
}

async fn ids_may_be_numbers_or_strings(backend: Backend) {
    let app = TestApp::start(backend).await;
    let numbers = agent(&app.http()).await;
    let (user, token) = (numbers["user_id"].as_i64().expect("a number"), &numbers["pubsub_token"]);
    let with = |account: Json, user: Json| json!({"channel": "RoomChannel", "pubsub_token": token, "account_id": account, "user_id": user});
    let mut cable = Cable::open(&app).await;
    for (identifier, kind) in [
        (with(json!("1"), json!(user.to_string())), "confirm_subscription"),
        (with(json!(1), json!(user.to_string())), "confirm_subscription"),
        (
            json!({"user_id": user, "extra": {"a": [null]}, "account_id": "1", "pubsub_token": token, "channel": "RoomChannel"}),
            "confirm_subscription",
        ),
        (with(json!("one"), json!(user)), "reject_subscription"),
        (with(json!(""), json!(user)), "reject_subscription"),
        (with(json!(1), json!("99999999999999999999")), "reject_subscription"),
        // A user's token without a user id is not a session's token.
        (with(json!("1"), json!("")), "reject_subscription"),
    ] {
        assert_eq!(answer(&mut cable, &identifier).await, kind, "{identifier}");
    }
}

async fn session(app: &TestApp) -> Json {
    let inbox = app.http().ask("/inboxes/1").await.1["inbox_identifier"].clone();
    let path = format!("/public/api/v1/inboxes/{}/contacts", inbox.as_str().expect("an identifier"));
    let made = app.http().with_token("").send("POST", &path, Some(&json!({"name": "Asha"}))).await;
    made.body["pubsub_token"].clone()
}

async fn blank_user_id_means_a_contact_and_ignores_the_account(backend: Backend) {
    let app = TestApp::start(backend).await;
    let token = session(&app).await;
    let mut cable = Cable::open(&app).await;
    for (account, user) in [
        (json!("1"), Json::Null),
        (json!(1), json!("")),
        (json!(99), json!("  ")),
        (json!("nobody's"), Json::Null),
        (Json::Null, Json::Null),
    ] {
        let identifier = json!({"channel": "RoomChannel", "pubsub_token": token, "account_id": account, "user_id": user});
        assert_eq!(answer(&mut cable, &identifier).await, "confirm_subscription", "{identifier}");
    }
    let as_user = json!({"channel": "RoomChannel", "pubsub_token": token, "account_id": 1, "user_id": 1});
    assert_eq!(answer(&mut cable, &as_user).await, "reject_subscription", "a session is no user");
}

async fn data_may_be_a_string_an_object_or_absent(backend: Backend) {
    let app = TestApp::start(backend).await;
    let identifier = agent(&app.http()).await;
    let mut cable = Cable::open(&app).await;
    cable.subscribe(&identifier).await;
    for data in [json!("{\"action\":\"update_presence\"}"), json!({"action": "update_presence"})] {
        // Data without an action is ignored, and is not an error.
        for idle in [
            Json::Null,
            json!(""),
            json!("nonsense"),
            json!(7),
            json!([1]),
            json!({"action": null}),
        ] {
            send(
                &mut cable,
                &json!({"command": "message", "identifier": identifier.to_string(), "data": idle}),
            )
            .await;
        }
        send(&mut cable, &json!({"command": "message", "identifier": identifier.to_string()})).await;
        send(
            &mut cable,
            &json!({"command": "message", "identifier": identifier.to_string(), "data": data}),
        )
        .await;
        assert_eq!(cable.until("presence.update").await["users"], json!({"1": "online"}));
    }
}

async fn send(cable: &mut Cable, frame: &Json) {
    cable
        .socket
        .send(Message::text(frame.to_string()))
        .await
        .expect("the server listens");
}
