//! Responses to a contact's client reflect the current state, whoever changed it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{app::TestApp, database::Backend, on_both};

on_both!(
    changes_by_agents_are_visible_at_once,
    verified_session_follows_its_contact_through_a_merge,
    unknown_typing_status_still_requires_a_session,
    idempotency_key_makes_client_writes_repeatable
);

/// The public identifier and the HMAC key of an inbox.
async fn inbox_path(app: &TestApp, inbox: i64) -> (String, String) {
    let (_, inbox) = app.http().ask(&format!("/inboxes/{inbox}")).await;
    let text = |key: &str| inbox[key].as_str().expect("administrators see it").to_owned();
    (text("inbox_identifier"), text("hmac_token"))
}

async fn ask(app: &TestApp, method: &str, path: &str, body: Value) -> (u16, Value) {
    let path = format!("/public/api/v1/inboxes/{path}");
    let answer = app.http().with_token("").send(method, &path, Some(&body)).await;
    (answer.status, answer.body)
}

async fn changes_by_agents_are_visible_at_once(backend: Backend) {
    let app = TestApp::builder(backend).start().await;
    let (inbox_path, key) = inbox_path(&app, 1).await;
    let made = json!({"source_id": "one", "name": "Asha", "identifier": "asha-7"});
    let (_, made) = ask(&app, "POST", &format!("{inbox_path}/contacts"), made).await;
    let me = format!("{inbox_path}/contacts/one");
    assert_eq!(ask(&app, "GET", &me, Value::Null).await.1, made);
    let contact = app.fixture().contact_of("one").await;
    let path = format!("/api/v1/accounts/1/contacts/{contact}");
    app.http().send("PATCH", &path, Some(&json!({"name": "Asha Rao"}))).await;
    assert_eq!(
        ask(&app, "GET", &me, Value::Null).await.1["name"],
        "Asha",
        "an unverified session is shown its own word"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(b"asha-7");
    let proof = format!(
        "{me}?identifier=asha-7&identifier_hash={}",
        hex::encode(mac.finalize().into_bytes())
    );
    assert_eq!(ask(&app, "GET", &proof, Value::Null).await.1["name"], "Asha Rao");
    app.http().send("PATCH", &path, Some(&json!({"name": "Asha R."}))).await;
    assert_eq!(ask(&app, "GET", &me, Value::Null).await.1["name"], "Asha R.");
    let base = app.http().post("/contacts", &json!({"name": "Base"})).await["payload"]["contact"]["id"].clone();
    let merge = json!({"base_contact_id": base, "mergee_contact_id": contact});
    app.http().post("/actions/contact_merge", &merge).await;
    let (_, shown) = ask(&app, "GET", &me, Value::Null).await;
    assert_eq!((&shown["id"], &shown["name"]), (&base, &json!("Base")));
    app.http()
        .send("DELETE", &format!("/api/v1/accounts/1/contacts/{base}"), None)
        .await;
    assert_eq!(ask(&app, "GET", &me, Value::Null).await.0, 404);
}

async fn verified_session_follows_its_contact_through_a_merge(backend: Backend) {
    let app = TestApp::builder(backend).start().await;
    let (inbox_path, key) = inbox_path(&app, 1).await;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(b"asha-7");
    let proof = json!({"identifier": "asha-7", "identifier_hash": hex::encode(mac.finalize().into_bytes())});
    let mut made = proof.clone();
    made["source_id"] = json!("one");
    ask(&app, "POST", &format!("{inbox_path}/contacts"), made).await;
    let me = format!("{inbox_path}/contacts/one");
    assert_eq!(ask(&app, "PATCH", &me, proof.clone()).await.0, 200);
    let all = format!("{me}/conversations");
    assert_eq!(ask(&app, "GET", &all, Value::Null).await, (200, json!([])));
    // Another contact, with its own session and conversation, absorbs this one in a merge.
    let base = app.http().post("/contacts", &json!({"name": "Base"})).await["payload"]["contact"]["id"].clone();
    let theirs = json!({"inbox_id": 1, "contact_id": base});
    let theirs = app.http().post("/conversations", &theirs).await["id"].clone();
    let merge = json!({"base_contact_id": base, "mergee_contact_id": app.fixture().contact_of("one").await});
    app.http().post("/actions/contact_merge", &merge).await;
    let (_, listed) = ask(&app, "GET", &all, Value::Null).await;
    assert_eq!(listed[0]["id"], theirs, "{listed}");
    assert_eq!(ask(&app, "GET", &format!("{all}/{theirs}"), Value::Null).await.0, 200);
    // The base contact took over the identifier, so the signature stays valid until an agent changes the identifier.
    assert_eq!(ask(&app, "PATCH", &me, proof.clone()).await.0, 200);
    let path = format!("/api/v1/accounts/1/contacts/{base}");
    app.http().send("PATCH", &path, Some(&json!({"identifier": "asha-8"}))).await;
    let query = format!(
        "{me}?identifier=asha-7&identifier_hash={}",
        proof["identifier_hash"].as_str().expect("a text")
    );
    assert_eq!(ask(&app, "GET", &query, Value::Null).await.0, 401);
}

async fn unknown_typing_status_still_requires_a_session(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (inbox_path, _) = inbox_path(&app, 1).await;
    ask(&app, "POST", &format!("{inbox_path}/contacts"), json!({"source_id": "one"})).await;
    let all = format!("{inbox_path}/contacts/one/conversations");
    let (_, talk) = ask(&app, "POST", &all, json!({})).await;
    let other = json!({"typing_status": "perhaps"});
    let typing = |of: &str, id: &Value| format!("{inbox_path}/contacts/{of}/conversations/{id}/toggle_typing");
    assert_eq!(
        ask(&app, "POST", &typing("one", &talk["id"]), other.clone()).await,
        (200, Value::Null)
    );
    for (of, id) in [("two", talk["id"].clone()), ("one", json!(99))] {
        assert_eq!(ask(&app, "POST", &typing(of, &id), other.clone()).await.0, 404, "{of} {id}");
    }
}

async fn idempotency_key_makes_client_writes_repeatable(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (inbox_path, _) = inbox_path(&app, 1).await;
    ask(&app, "POST", &format!("{inbox_path}/contacts"), json!({"source_id": "one"})).await;
    let all = format!("{inbox_path}/contacts/one/conversations");
    let (_, talk) = ask(&app, "POST", &all, json!({})).await;
    let messages = format!("/public/api/v1/inboxes/{all}/{}/messages", talk["id"]);
    let http = app.http().with_token("");
    let said = async || {
        let request = http.request("POST", &messages).header("idempotency-key", "order-7");
        http.answer(request.json(&json!({"content": "once"}))).await.body
    };
    assert_eq!(said().await, said().await);
    let (_, listed) = ask(&app, "GET", &format!("{all}/{}/messages", talk["id"]), Value::Null).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let document = http.description().await.document().clone();
    for (path, method, described) in [("/messages", "post", true), ("/messages", "get", false), ("", "post", true)] {
        let path = format!(
            "/public/api/v1/inboxes/{{inbox_identifier}}/contacts/{{contact_identifier}}/conversations{}{path}",
            if path.is_empty() { "" } else { "/{conversation_id}" }
        );
        let parameters = document["paths"][&path][method]["parameters"].as_array().expect("it is described");
        let key = parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key");
        assert_eq!(key, described, "{method} {path}");
    }
}
