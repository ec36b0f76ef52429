//! The audit log: who administered what.

use std::time::Duration;

use parley_proto::{CreateLabelRequest, CreateTokenRequest, DeleteLabelRequest, TokenKind, labels_service_client::LabelsServiceClient};
use serde_json::{Value as Json, json};
use sqlx::{Connection as _, PgConnection};

use super::{lines, lines_in_time, metrics, value};
use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    in_time,
};

fn is_audit(line: &Json) -> bool {
    line["target"] == "parley::audit"
}

/// Every change of permissions leaves a line that says who made it, and so does a refused attempt.
#[tokio::test]
async fn administration_leaves_an_audit_line() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    let mut request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "reports".to_owned(),
        read_only: true,
        ..CreateTokenRequest::default()
    };
    let made = app
        .clients()
        .accounts
        .create_token(request.clone())
        .await
        .expect("an administrator may")
        .into_inner();
    request.kind = TokenKind::Platform.into();
    request.account_id = None;
    app.clients_with(&made.secret)
        .accounts
        .create_token(request)
        .await
        .expect_err("a service may not");
    let lines = lines_in_time(&app, 2, is_audit).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&line["call"], &line["who"], &line["account"], &line["code"]))
        .collect();
    for line in &lines {
        assert!(line["token"].is_i64(), "{line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    let call = json!("parley.v1.AccountsService/CreateToken");
    let (user, service) = (json!("user 1"), json!("service reports"));
    assert_eq!(
        told,
        [
            (&call, &user, &json!(1), &json!("OK")),
            (&call, &service, &Json::Null, &json!("PERMISSION_DENIED")),
        ]
    );
}

/// With both APIs, a line contains the client's address and the target of the call.
#[tokio::test]
async fn audit_line_contains_address_and_target() {
    let app = TestApp::builder(Backend::Sqlite).start().await;
    let made = app.http().post("/labels", &json!({"title": "vip"})).await;
    let id = made["id"].as_i64().unwrap_or_else(|| panic!("{made:?}"));
    let request = DeleteLabelRequest {
        account_id: 1,
        label_id: id,
        ..DeleteLabelRequest::default()
    };
    LabelsServiceClient::new(app.clients().service)
        .delete_label(request)
        .await
        .expect("it is gone");
    let told = lines_in_time(&app, 2, is_audit).await;
    let about: Vec<_> = told.iter().map(|line| (&line["call"], &line["resource"])).collect();
    assert_eq!(
        about,
        [
            (&json!("parley.v1.LabelsService/CreateLabel"), &Json::Null),
            (&json!("parley.v1.LabelsService/DeleteLabel"), &json!(format!("label_id={id}"))),
        ]
    );
    for line in &told {
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
        assert_eq!((&line["who"], &line["account"]), (&json!("user 1"), &json!(1)));
    }
}

/// A caller that disconnects before the response leaves a line too, because its request may be executed all the same.
#[tokio::test]
async fn audit_line_is_written_for_cancelled_calls_on_postgres() {
    const CALLS: usize = 3;
    let app = TestApp::builder(Backend::Postgres).env("PARLEY_WRITER_SHARDS", "1").start().await;
    let mut keeper = PgConnection::connect(&app.database.url()).await.expect("the database is there");
    for sql in ["BEGIN", "SELECT 1 FROM account_logs FOR UPDATE"] {
        sqlx::query(sql).execute(&mut keeper).await.expect("it is locked");
    }
    let create = |title: String| {
        let mut labels = LabelsServiceClient::new(app.clients().service);
        tokio::spawn(async move {
            let request = CreateLabelRequest {
                account_id: 1,
                label: Some(parley_proto::Label {
                    title,
                    ..parley_proto::Label::default()
                }),
                ..CreateLabelRequest::default()
            };
            labels.create_label(request).await
        })
    };
    // Wait until the first call is blocked on the lock before sending the others, which then wait in the writer shard's queue. Otherwise
    // the shard would take all of them at once.
    let mut calls = vec![create("label0".to_owned())];
    let at_work = "SELECT CAST(count(*) AS bigint) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    in_time("one at work", async {
        while Database::number(&app.database.url(), at_work).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    calls.extend((1..CALLS).map(|index| create(format!("label{index}"))));
    in_time("a queue", async {
        while value(
            &metrics(&app).await,
            "parley_writer_queue_depth",
            &["parley_writer_shard=\"0\"", "parley_lane=\"0\""],
        ) < 2.0
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(lines(&app, is_audit).is_empty(), "nobody has an answer yet");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    let told = lines_in_time(&app, CALLS, is_audit).await;
    for line in &told {
        assert_eq!(
            (&line["code"], &line["who"], &line["account"]),
            (&json!("CANCELLED"), &json!("user 1"), &json!(1))
        );
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|said| said.contains("might have been carried out")),
            "{line}"
        );
    }
    let cancelled = ["LabelsService/CreateLabel", "rpc_response_status_code=\"CANCELLED\""];
    let count = value(&metrics(&app).await, "rpc_server_call_duration_seconds_count", &cancelled);
    assert!((count - 3.0).abs() < f64::EPSILON, "{count}");
    sqlx::query("ROLLBACK").execute(&mut keeper).await.expect("it is unlocked");
    in_time("the labels", async {
        while value(&metrics(&app).await, "parley_writer_queue_depth", &["parley_writer_shard=\"0\""]) > 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
