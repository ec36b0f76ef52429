//! Users stand outside of accounts: what changes one is told to its accounts once, also when it is asked for again or by many at once.

use std::time::Duration;

use parley::pb::{self, CreateUserRequest, EventKind, GetUserRequest, Role, UpdateUserRequest, User};
use prost_types::{FieldMask, Struct, Value, value::Kind};
use sqlx::{Connection as _, PgConnection};
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    app::{PLATFORM, TestApp},
    clients::Clients,
    database::{Backend, Database},
    fault::assert_refused,
    http::client,
    in_time,
    office::worker,
    on_both,
    reader::{event, whole_log},
};

on_both!(
    calls_at_once_under_one_id_make_one_user,
    a_change_is_told_once,
    a_user_comes_with_its_attributes_or_not_at_all
);

async fn calls_at_once_under_one_id_make_one_user(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).platform().replicas(replicas).start().await;
    let mut doors = vec![app.server.doors.grpc.clone()];
    doors.extend(app.replicas.iter().map(|replica| replica.doors.grpc.clone()));
    let request = CreateUserRequest {
        request_id: Uuid::new_v4().to_string(),
        name: "Asha".to_owned(),
        email: "asha@example.org".to_owned(),
        ..CreateUserRequest::default()
    };
    let mut callers = tokio::task::JoinSet::new();
    for nth in 0..32 {
        let mut accounts = Clients::new(&doors[nth % doors.len()], Some(PLATFORM)).accounts;
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

async fn told(clients: &Clients) -> usize {
    let log = whole_log(clients, 1).await;
    log.iter()
        .filter(|delivery| event(delivery).kind() == EventKind::AgentUpdated)
        .count()
}

async fn a_change_is_told_once(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    let change = |request_id: Uuid, name: &str| UpdateUserRequest {
        request_id: request_id.to_string(),
        user: Some(User {
            id: agent.user,
            display_name: Some(name.to_owned()),
            ..User::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
    };
    let id = Uuid::new_v4();
    let mut accounts = app.platform().accounts;
    let first = accounts.update_user(change(id, "R.")).await.expect("changed").into_inner();
    assert_eq!(told(&app.clients()).await, 1);
    let again = accounts.update_user(change(id, "R.")).await.expect("the same").into_inner();
    assert_eq!(again, first);
    accounts.update_user(change(Uuid::new_v4(), "R.")).await.expect("nothing to do");
    assert_refused(
        accounts.update_user(change(id, "Q.")).await,
        Code::AlreadyExists,
        "IDEMPOTENCY_KEY_REUSED",
    );
    assert_eq!(told(&app.clients()).await, 1, "neither what came again nor what changed nothing");
    accounts.update_user(change(Uuid::new_v4(), "Q.")).await.expect("changed");
    assert_eq!(told(&app.clients()).await, 2);
}

/// A change is made before accounts are told of it: whoever dies in between leaves a note, and the next one tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_over_a_crash_on_postgres() {
    let mut app = TestApp::builder(Backend::Postgres).platform().start().await;
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    let url = app.database.url();
    let mut keeper = PgConnection::connect(&url).await.expect("the database is there");
    for sql in ["BEGIN", "SELECT 1 FROM account_logs FOR UPDATE"] {
        sqlx::query(sql).execute(&mut keeper).await.expect("nobody can write into the log");
    }
    let request = UpdateUserRequest {
        user: Some(User {
            id: agent.user,
            display_name: Some("R.".to_owned()),
            ..User::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
        ..UpdateUserRequest::default()
    };
    let mut accounts = app.platform().accounts;
    let call = tokio::spawn(async move { accounts.update_user(request).await });
    let noted = "SELECT CAST(count(*) AS bigint) FROM announcements";
    in_time("the note", async {
        while Database::number(&url, noted).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    app.server.kill();
    call.await.expect("no panic").expect_err("it was never answered");
    drop(keeper);
    app.start_again().await;
    in_time("the event", async {
        while told(&app.clients()).await == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!((told(&app.clients()).await, Database::number(&url, noted).await), (1, 0));
}

async fn a_user_comes_with_its_attributes_or_not_at_all(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ask = |attributes: serde_json::Value| {
        let url = format!("http://{}/platform/api/v1/users", app.server.doors.http);
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
