//! Users do not belong to an account, and are created once even by concurrent calls.

use parley_proto::{self as pb, CreateUserRequest, GetUserRequest};
use prost_types::{Struct, Value, value::Kind};
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    app::{PLATFORM, TestApp},
    clients::Clients,
    database::Backend,
    fault::assert_refused,
    http::client,
    on_both,
};

on_both!(
    concurrent_calls_with_one_id_create_one_user,
    user_and_attributes_are_created_atomically
);

async fn concurrent_calls_with_one_id_create_one_user(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).platform().replicas(replicas).start().await;
    let mut endpoints = vec![app.server.listeners.grpc.clone()];
    endpoints.extend(app.replicas.iter().map(|replica| replica.listeners.grpc.clone()));
    let request = CreateUserRequest {
        request_id: Uuid::new_v4().to_string(),
        name: "Asha".to_owned(),
        email: "asha@example.org".to_owned(),
        ..CreateUserRequest::default()
    };
    let mut callers = tokio::task::JoinSet::new();
    for nth in 0..32 {
        let mut accounts = Clients::new(&endpoints[nth % endpoints.len()], Some(PLATFORM)).accounts;
        let request = request.clone();
        callers.spawn(async move { accounts.create_user(request).await });
    }
    let answers: Vec<_> = callers
        .join_all()
        .await
        .into_iter()
        .map(|answer| answer.map(tonic::Response::into_inner))
        .collect();
    let first = answers[0].as_ref().expect("it is made").clone();
    for answer in answers {
        assert_eq!(answer.expect("the first answer"), first);
    }
    let other = CreateUserRequest {
        request_id: String::new(),
        ..request
    };
    let refused = app.platform().accounts.create_user(other).await;
    assert_refused(refused, Code::AlreadyExists, "ALREADY_TAKEN");
}

async fn user_and_attributes_are_created_atomically(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ask = |attributes: serde_json::Value| {
        let url = format!("http://{}/platform/api/v1/users", app.server.listeners.http);
        let body =
            serde_json::json!({"name": "Ana", "email": "ana@example.org", "password": "Sunny-Day-7", "custom_attributes": attributes});
        client().post(url).header("api_access_token", PLATFORM).json(&body).send()
    };
    let refused = ask(serde_json::json!({"deep": {"bad": "\u{0}"}})).await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 422);
    let made = ask(serde_json::json!({"plan": "gold"})).await.expect("an answer");
    assert_eq!(made.status().as_u16(), 200);
    let made: serde_json::Value = made.json().await.expect("JSON");
    assert!(made["access_token"].is_string(), "it was not there before: {made}");
    let user_id = made["id"].as_i64().expect("a number");
    let found = app
        .platform()
        .accounts
        .get_user(GetUserRequest { user_id })
        .await
        .expect("it is there")
        .into_inner();
    let gold = Value {
        kind: Some(Kind::StringValue("gold".to_owned())),
    };
    let attributes = Struct {
        fields: [("plan".to_owned(), gold)].into(),
    };
    assert_eq!(found.user.and_then(|user: pb::User| user.custom_attributes), Some(attributes));
}
