//! Many callers create the same contact concurrently: there is one row, and every response is correct. On PostgreSQL half of the callers
//! use another replica.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::Http,
    on_both,
};

on_both!(
    concurrent_creations_use_an_email_address_once,
    concurrent_creations_use_an_identifier_once,
    concurrent_creations_use_a_phone_number_once,
    concurrent_creations_use_a_source_id_once,
    concurrent_merges_merge_a_contact_once
);

/// The number of concurrent callers.
const CALLERS: usize = 64;

async fn app(backend: Backend) -> TestApp {
    // SQLite supports one server only.
    let replicas = usize::from(backend == Backend::Postgres);
    TestApp::builder(backend).replicas(replicas).start().await
}

/// Posts the same body to a path of account 1 from all callers concurrently. Returns the statuses and bodies.
async fn at_once(app: &TestApp, path: &str, body: impl Fn(usize) -> Json) -> Vec<(u16, Json)> {
    let mut endpoints = vec![app.server.listeners.http.clone()];
    endpoints.extend(app.replicas.iter().map(|replica| replica.listeners.http.clone()));
    let endpoints: Vec<Http> = endpoints.iter().map(|address| Http::new(address, ADMINISTRATOR)).collect();
    let start = Arc::new(tokio::sync::Barrier::new(CALLERS));
    let mut callers = tokio::task::JoinSet::new();
    for nth in 0..CALLERS {
        let (http, path, body) = (endpoints[nth % endpoints.len()].clone(), path.to_owned(), body(nth));
        let start = Arc::clone(&start);
        callers.spawn(async move {
            start.wait().await;
            http.try_post(&path, &body).await
        });
    }
    callers.join_all().await
}

async fn contacts(app: &TestApp) -> Json {
    app.http().post("/contacts/filter", &json!({"payload": []})).await
}

/// One caller creates the contact. The others receive an error that names it.
async fn taken_once(backend: Backend, key: &str, value: &str, sentence: &str) {
    let app = app(backend).await;
    let answers = at_once(&app, "/contacts", |nth| json!({"name": format!("caller {nth}"), key: value})).await;
    let made: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    let id = &made[0].1["payload"]["contact"]["id"];
    let refused = json!({"message": sentence, "attributes": [key], "existing_id": id});
    for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
        assert_eq!((status, answer), (&422, &refused));
    }
    assert_eq!(contacts(&app).await["meta"]["count"], 1);
}

async fn concurrent_creations_use_an_email_address_once(backend: Backend) {
    taken_once(backend, "email", "ana@example.org", "Email has already been taken").await;
}

async fn concurrent_creations_use_an_identifier_once(backend: Backend) {
    taken_once(backend, "identifier", "crm-7", "Identifier has already been taken").await;
}

async fn concurrent_creations_use_a_phone_number_once(backend: Backend) {
    taken_once(backend, "phone_number", "+351912345678", "Phone number has already been taken").await;
}

async fn concurrent_creations_use_a_source_id_once(backend: Backend) {
    let app = app(backend).await;
    let body = |nth: usize| json!({"name": "caller", "identifier": format!("caller-{nth}"), "inbox_id": 1, "source_id": "ana"});
    let answers = at_once(&app, "/contacts", body).await;
    let made: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    assert_eq!(made[0].1["payload"]["contact_inbox"]["source_id"], "ana");
    for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
        assert_eq!((status, &answer["error"]), (&422, &json!("source_id should be unique")));
        assert!(answer["existing_id"].is_i64(), "{answer}");
    }
    assert_eq!(contacts(&app).await["meta"]["count"], 1, "a refused call leaves no contact behind");
}

async fn concurrent_merges_merge_a_contact_once(backend: Backend) {
    let app = app(backend).await;
    let fixture = app.fixture();
    let (base, other) = (fixture.person("Ana").await.contact, fixture.person("Maria").await.contact);
    let body = |_| json!({"base_contact_id": base, "mergee_contact_id": other});
    let answers = at_once(&app, "/actions/contact_merge", body).await;
    let (merged, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert_eq!((merged.len(), refused.len()), (1, CALLERS - 1));
    assert_eq!(merged[0].1["id"], base);
    assert!(refused.iter().all(|(status, _)| *status == 404), "{refused:?}");
}
