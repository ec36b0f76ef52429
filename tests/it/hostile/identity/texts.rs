//! Templates rendered for an unverified session contain what the session submitted, and nothing that is stored about the contact whose
//! address it submitted.

use parley_proto::{ListClientMessagesRequest, MessageType};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::{Public, contact, start};
use crate::support::{app::TestApp, clients::Clients, database::Backend, on_both};

on_both!(
    texts_for_an_unverified_session_use_submitted_data,
    texts_for_a_verified_session_use_stored_data
);

const TEXT: &str = "{{contact.name}}|{{contact.first_name}}|{{contact.email}}|{{contact.phone_number}}|{{contact.custom_attribute.plan}}|\
                    {{conversation.contact_name}}";

/// The messages that the session `source` receives over REST and over gRPC: the greeting, the out-of-office message, an agent's template,
/// and the survey.
async fn texts(app: &TestApp, public: &Public, source: &str) -> Vec<Vec<String>> {
    let change = json!({
        "greeting_enabled": true, "greeting_message": format!("greeting {TEXT}"),
        "csat_survey_enabled": true, "csat_config": {"message": format!("survey {TEXT}")},
    });
    set(app, &change).await;
    let first = public.talk(source).await;
    say(public, source, first).await;
    app.fixture().say(first, &format!("agent {TEXT}")).await;
    let path = format!("/api/v1/accounts/1/conversations/{first}/toggle_status");
    let answer = app.http().send("POST", &path, Some(&json!({"status": "resolved"}))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let closed: Vec<Json> = (0..7).map(|day| json!({"day_of_week": day, "closed_all_day": true})).collect();
    let change = json!({"working_hours_enabled": true, "working_hours": closed, "out_of_office_message": format!("out {TEXT}")});
    set(app, &change).await;
    let second = public.talk(source).await;
    say(public, source, second).await;
    let mut rest = Vec::new();
    let mut grpc = Vec::new();
    for talk in [first, second] {
        let path = format!("/{source}/conversations/{talk}/messages");
        let listed = public.ask(Method::GET, &path, None).await.body;
        let listed = listed.as_array().expect("a list");
        let sent = listed.iter().filter(|message| message["message_type"] != 0);
        rest.extend(sent.filter_map(|message| message["content"].as_str().map(str::to_owned)));
        let request = ListClientMessagesRequest {
            session: Some(public.session(source)),
            conversation_id: talk,
            ..ListClientMessagesRequest::default()
        };
        let visitor = Clients::new(&app.server.listeners.grpc, None);
        let listed = visitor
            .client
            .clone()
            .list_client_messages(request)
            .await
            .expect("its own")
            .into_inner();
        let sent = listed
            .messages
            .into_iter()
            .filter(|message| message.r#type() != MessageType::Incoming);
        grpc.extend(sent.filter_map(|message| message.content));
    }
    rest.sort();
    grpc.sort();
    vec![rest, grpc]
}

async fn set(app: &TestApp, change: &Json) {
    let answer = app.http().send("PATCH", "/api/v1/accounts/1/inboxes/1", Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn say(public: &Public, source: &str, talk: i64) {
    let path = format!("/{source}/conversations/{talk}/messages");
    let answer = public.ask(Method::POST, &path, Some(&json!({"content": "hello"}))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn all(filled: &str) -> Vec<Vec<String>> {
    let texts: Vec<String> = ["agent", "greeting", "out", "survey"]
        .iter()
        .map(|kind| format!("{kind} {filled}"))
        .collect();
    vec![texts; 2]
}

async fn alice(app: &TestApp) {
    let body = json!({
        "name": "Alice Stored", "email": "alice@x.org", "phone_number": "+351912345678", "identifier": "alice-identifier",
        "custom_attributes": {"plan": "platinum-plan"},
    });
    contact(app, 1, body).await;
}

async fn texts_for_an_unverified_session_use_submitted_data(backend: Backend) {
    let app = start(backend, "").await;
    alice(&app).await;
    let public = Public::of(&app, 1).await;
    public
        .create("s", json!({"phone_number": "+351912345678", "name": "some one"}))
        .await;
    let sent = texts(&app, &public, "s").await;
    assert_eq!(sent, all("Some One|Some||+351912345678||Some One"));
    // Data that members add to a contact that a session created is not rendered for the session either.
    public.create("own", json!({"name": "Olga", "email": "olga@x.org"})).await;
    let stored = app.fixture().contact_of("own").await;
    let path = format!("/api/v1/accounts/1/contacts/{stored}");
    let change = json!({"name": "Olga Fraud", "phone_number": "+351912345679", "custom_attributes": {"plan": "closed"}});
    assert_eq!(app.http().send("PATCH", &path, Some(&change)).await.status, 200);
    let talk = public.talk("own").await;
    let said = app.fixture().say(talk, TEXT).await;
    assert_eq!(said.content.as_deref(), Some("Olga|Olga|olga@x.org|||Olga"));
}

async fn texts_for_a_verified_session_use_stored_data(backend: Backend) {
    let app = start(backend, "").await;
    alice(&app).await;
    let public = Public::of(&app, 1).await;
    public
        .create("s", public.signed("alice-identifier", json!({"name": "some one"})))
        .await;
    assert_eq!(public.prove("s", "alice-identifier").await.status, 200);
    let sent = texts(&app, &public, "s").await;
    assert_eq!(sent, all("Alice Stored|Alice|alice@x.org|+351912345678|platinum-plan|Alice Stored"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_texts_reveal_stored_data() {
    let app = start(Backend::Sqlite, "visitor_view").await;
    alice(&app).await;
    let public = Public::of(&app, 1).await;
    public
        .create("s", json!({"phone_number": "+351912345678", "name": "some one"}))
        .await;
    let sent = texts(&app, &public, "s").await;
    assert_eq!(sent, all("Alice Stored|Alice|alice@x.org|+351912345678|platinum-plan|Alice Stored"));
}
