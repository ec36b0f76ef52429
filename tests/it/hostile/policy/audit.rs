//! Audited calls are stored up to a bound, listed to callers who may administer, and still logged.

use std::time::Duration;

use futures_util::StreamExt as _;
use parley_proto::{
    ActorType, AuditEvent, CreateAccountRequest, CreateLabelRequest, CreateTokenRequest, DeleteLabelRequest, Label, ListAuditEventsRequest,
    Role, TokenKind, audit_service_client::AuditServiceClient, labels_service_client::LabelsServiceClient,
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    app::TestApp,
    clients::Clients,
    database::{Backend, Database},
    fault::assert_refused,
    http::client,
    in_time,
    office::{other_account, worker},
    on_both,
};

on_both!(
    audited_calls_are_stored,
    audit_events_are_bounded,
    refused_anonymous_calls_are_stored_up_to_a_bound
);

async fn list(clients: &Clients, account_id: Option<i64>) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest {
        account_id,
        ..ListAuditEventsRequest::default()
    };
    let mut audit = AuditServiceClient::new(clients.service.clone());
    audit
        .list_audit_events(request)
        .await
        .expect("it is listed")
        .into_inner()
        .audit_events
}

async fn label(clients: &Clients, title: &str) -> i64 {
    let request = CreateLabelRequest {
        account_id: 1,
        label: Some(Label {
            title: title.to_owned(),
            ..Label::default()
        }),
        ..CreateLabelRequest::default()
    };
    let made = LabelsServiceClient::new(clients.service.clone()).create_label(request).await;
    made.expect("the label is made").into_inner().label.expect("always set").id
}

async fn with_token(app: &TestApp, request: CreateTokenRequest) -> Clients {
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
}

fn service(read_only: bool) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "reports".to_owned(),
        read_only,
        ..CreateTokenRequest::default()
    }
}

async fn audited_calls_are_stored(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (administrator, reader) = (app.clients(), with_token(&app, service(true)).await);
    let before = list(&administrator, Some(1)).await.len();
    let id = label(&administrator, "vip").await;
    let delete = DeleteLabelRequest {
        account_id: 1,
        label_id: id,
        ..DeleteLabelRequest::default()
    };
    let mut labels = LabelsServiceClient::new(administrator.service.clone());
    labels.delete_label(delete.clone()).await.expect("it is deleted");
    let refused = LabelsServiceClient::new(reader.service.clone()).delete_label(delete).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");

    let events = list(&administrator, Some(1)).await;
    assert_eq!(events.len(), before + 3);
    let told: Vec<_> = events[..3]
        .iter()
        .map(|event| {
            let actor = event.actor.as_ref().expect("a token was shown");
            (event.method.as_str(), actor.r#type(), event.resource_id, event.code)
        })
        .collect();
    let (deleted, created) = ("parley.v1.LabelsService/DeleteLabel", "parley.v1.LabelsService/CreateLabel");
    assert_eq!(
        told,
        [
            // Refused before the request was read.
            (deleted, ActorType::Service, None, Code::PermissionDenied.into()),
            (deleted, ActorType::User, Some(id), 0),
            (created, ActorType::User, None, 0),
        ]
    );
    for event in &events {
        assert_eq!((event.account_id, event.peer_address.as_str()), (Some(1), "127.0.0.1"), "{event:?}");
    }

    // Chatwoot's route returns the same events.
    let (status, logs) = app.http().ask("/audit_logs").await;
    assert_eq!(
        (status, &logs["current_page"], &logs["per_page"]),
        (200, &json!(1), &json!(15)),
        "{logs}"
    );
    assert_eq!(logs["total_entries"], json!(events.len()));
    let entry = &logs["audit_logs"][1];
    assert_eq!(
        (
            &entry["id"],
            &entry["auditable_type"],
            &entry["auditable_id"],
            &entry["action"],
            &entry["user_type"]
        ),
        (&json!(events[1].id), &json!("Label"), &json!(id), &json!("destroy"), &json!("User"))
    );

    only_those_who_administer_list(&app, &reader).await;
}

/// Administrators list audit events, also with read-only tokens. Agents and other accounts do not, and operators see all events.
async fn only_those_who_administer_list(app: &TestApp, reader: &Clients) {
    assert!(!list(reader, Some(1)).await.is_empty(), "an auditor needs no token that writes");
    let agent = worker(app, 1, Role::Agent, "Ola").await;
    let agent = with_token(app, of_user(agent.user)).await;
    let other = other_account(app, "Other").await;
    let stranger = worker(app, other.account, Role::Administrator, "Stranger").await;
    let stranger = with_token(app, of_user(stranger.user)).await;
    for (clients, account_id, reason) in [
        (&agent, Some(1), "NOT_ALLOWED"),
        (&stranger, Some(1), "NOT_A_MEMBER"),
        (&app.clients(), None, "NOT_ALLOWED"),
        (&app.clients(), Some(0), "NOT_ALLOWED"),
    ] {
        let request = ListAuditEventsRequest {
            account_id,
            ..ListAuditEventsRequest::default()
        };
        let refused = AuditServiceClient::new(clients.service.clone()).list_audit_events(request).await;
        assert_refused(refused, Code::PermissionDenied, reason);
    }
    let request = CreateAccountRequest {
        name: "Another".to_owned(),
        ..CreateAccountRequest::default()
    };
    app.platform().accounts.create_account(request).await.expect("an account");
    let all = list(&app.platform(), None).await;
    let newest = &all[0];
    assert_eq!(
        (
            newest.method.as_str(),
            newest.account_id,
            newest.actor.as_ref().map(parley_proto::Actor::r#type)
        ),
        ("parley.v1.AccountsService/CreateAccount", None, Some(ActorType::Platform))
    );
    assert!(all.iter().any(|event| event.account_id == Some(1)));
    assert!(list(&app.platform(), Some(0)).await.iter().all(|event| event.account_id.is_none()));
}

fn of_user(user: i64) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user),
        ..CreateTokenRequest::default()
    }
}

async fn audit_events_are_bounded(backend: Backend) {
    const KEPT: i64 = 100;
    const DONE: &str = "SELECT CAST(count(*) AS bigint) FROM audit_events WHERE code = 0 AND account_id = 1";
    const ALL: &str = "SELECT CAST(count(*) AS bigint) FROM audit_events";
    let mut app = TestApp::builder(backend)
        .env("PARLEY_AUDIT_KEEP_EVENTS", &KEPT.to_string())
        .start()
        .await;
    for index in 0..KEPT + 5 {
        label(&app.clients(), &format!("label{index}")).await;
    }
    assert!(list(&app.clients(), Some(1)).await.len() >= 100);
    assert_eq!(Database::number(&app.database.url(), DONE).await, KEPT + 5);
    app.restart().await;
    in_time("the trimming", async {
        while Database::number(&app.database.url(), DONE).await != KEPT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    app.database.run("UPDATE audit_events SET occurred_at = 1").await;
    app.restart().await;
    in_time("the trimming by age", async {
        while Database::number(&app.database.url(), ALL).await != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// The call succeeds, and the log reports that its audit event is missing.
#[tokio::test]
async fn audit_event_that_cannot_be_stored_is_logged() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.database.run("DROP TABLE audit_events").await;
    label(&app.clients(), "vip").await;
    in_time("the error", async {
        while !app.server.log().contains("failed to store an audit event") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(
        app.server.log().contains("administrative call"),
        "the line of the audit log is there as ever"
    );
}

/// Anyone can make such calls, so a bounded number of them is stored, outside of accounts. The rest is counted.
async fn refused_anonymous_calls_are_stored_up_to_a_bound(backend: Backend) {
    const STORED: &str = "SELECT CAST(count(*) AS bigint) FROM audit_events WHERE account_id = 0 AND refused AND actor_type = 0";
    const CALLS: usize = 300;
    let app = TestApp::builder(backend).platform().start().await;
    let stranger = Clients::new(&app.server.listeners.grpc, None);
    let calls = futures_util::stream::iter(0..CALLS).map(|_| {
        let request = CreateLabelRequest {
            account_id: 1,
            ..CreateLabelRequest::default()
        };
        let mut labels = LabelsServiceClient::new(stranger.service.clone());
        async move { labels.create_label(request).await.expect_err("without a token").code() }
    });
    let codes: Vec<Code> = calls.buffer_unordered(16).collect().await;
    assert!(codes.iter().all(|code| *code == Code::Unauthenticated), "{codes:?}");
    let metrics = format!("http://{}/metrics", app.server.listeners.admin);
    let stored = in_time("some are stored, and some are counted", async {
        loop {
            let text = client().get(&metrics).send().await.expect("metrics").text().await.expect("text");
            let lost = text
                .lines()
                .find(|line| line.starts_with("parley_audit_lost_total") && line.contains("parley_reason=\"rate\""));
            let lost: f64 = lost
                .and_then(|line| line.rsplit(' ').next())
                .and_then(|number| number.parse().ok())
                .expect("it is told from the start");
            let stored = Database::number(&app.database.url(), STORED).await;
            if stored >= 60 && lost >= 1.0 {
                break stored;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(stored < 200, "{stored}");
    let events = list(&app.platform(), Some(0)).await;
    let refused = events.iter().filter(|event| event.code == i32::from(Code::Unauthenticated));
    assert!(refused.clone().count() >= 25, "the operator lists them: {events:?}");
    assert!(
        refused
            .clone()
            .all(|event| event.actor.is_none() && event.peer_address == "127.0.0.1")
    );
    // None of them is among the audit events of the account.
    assert!(list(&app.clients(), Some(1)).await.iter().all(|event| event.code == 0));
}
