//! Receipts of messages may arrive repeatedly and in any order; the delivery status only moves forward.

use parley_proto::{EventKind, MessageStatus, RetryMessageRequest, UpdateMessageRequest};
use serde_json::json;

use crate::support::{
    app::TestApp,
    database::Backend,
    on_both,
    reader::{event, whole_log},
    told::Told as _,
};

on_both!(late_receipts_are_ignored, failed_message_ignores_receipts_until_its_retry);

/// Reports a status. Returns the stored status.
async fn report(app: &TestApp, talk: i64, message: i64, status: MessageStatus, over_grpc: bool) -> String {
    if over_grpc {
        let request = UpdateMessageRequest {
            account_id: 1,
            conversation_id: talk,
            message_id: message,
            status: status.into(),
            ..UpdateMessageRequest::default()
        };
        let answer = app.clients().messages.update_message(request).await.expect("answered");
        let stored = answer.into_inner().message.expect("always set").status();
        return name(stored);
    }
    let path = format!("/api/v1/accounts/1/conversations/{talk}/messages/{message}");
    let answer = app.http().send("PATCH", &path, Some(&json!({"status": name(status)}))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["status"].as_str().expect("a status").to_owned()
}

fn name(status: MessageStatus) -> String {
    status.as_str_name().trim_start_matches("MESSAGE_STATUS_").to_lowercase()
}

/// The statuses of a message in the log, in order.
async fn reported(app: &TestApp, message: i64) -> Vec<String> {
    let log = whole_log(&app.clients(), 1).await;
    let updates = log.iter().map(event).filter(|event| event.kind() == EventKind::MessageUpdated);
    updates
        .filter_map(|event| event.message()?.message.as_ref())
        .filter(|updated| updated.id == message)
        .map(|updated| name(updated.status()))
        .collect()
}

async fn late_receipts_are_ignored(backend: Backend) {
    use MessageStatus::{Delivered, Failed, Read, Sent};
    for (on, switch) in [(true, ""), (false, "receipt_order")] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let talk = app.fixture().talk().await;
        for (receipts, expected) in [
            ([Delivered, Read, Sent, Failed, Delivered], vec!["delivered", "read"]),
            ([Read, Delivered, Delivered, Read, Sent], vec!["read"]),
            ([Sent, Sent, Delivered, Delivered, Sent], vec!["delivered"]),
            ([Delivered, Failed, Read, Delivered, Sent], vec!["delivered", "failed"]),
        ] {
            let message = app.fixture().say(talk, "It left today.").await.id;
            let mut stored = String::new();
            for (nth, receipt) in receipts.into_iter().enumerate() {
                // Each receipt twice, once over each API.
                report(&app, talk, message, receipt, nth % 2 == 0).await;
                stored = report(&app, talk, message, receipt, nth % 2 == 1).await;
            }
            let log = reported(&app, message).await;
            assert_eq!(log == expected, on, "{receipts:?}: {log:?}");
            assert_eq!(expected.last() == Some(&stored.as_str()), on, "{receipts:?}: {stored}");
        }
    }
}

async fn failed_message_ignores_receipts_until_its_retry(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let message = app.fixture().say(talk, "It left today.").await.id;
    for status in [MessageStatus::Failed, MessageStatus::Delivered, MessageStatus::Read] {
        assert_eq!(report(&app, talk, message, status, true).await, "failed");
    }
    let request = RetryMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message,
        ..RetryMessageRequest::default()
    };
    app.clients().messages.retry_message(request).await.expect("sent again");
    assert_eq!(report(&app, talk, message, MessageStatus::Read, false).await, "read");
    assert_eq!(reported(&app, message).await, ["failed", "sent", "read"]);
}
