//! Statement 18: a read with a minimum cursor waits for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parley_proto::{GetConversationRequest, GetLogInfoRequest, ListMessagesRequest};
use tonic::{Code, Request, metadata::MetadataValue};

use crate::support::{api_fixture::incoming, app::TestApp, clients::Clients, database::Backend, fault::fault, on_both, reader::log_info};

on_both!(
    statement_18_read_waits_for_its_minimum_cursor,
    statement_18_read_stops_waiting_at_its_deadline
);

fn after<T>(cursor: &Bytes, request: T) -> Request<T> {
    let mut request = Request::new(request);
    request
        .metadata_mut()
        .insert_bin("parley-min-cursor-bin", MetadataValue::from_bytes(cursor));
    request
}

fn conversation(id: i64) -> GetConversationRequest {
    GetConversationRequest {
        account_id: 1,
        conversation_id: id,
    }
}

/// A cursor `by` events beyond the head.
fn ahead(clients: &Clients, head: &Bytes, by: u64) -> Bytes {
    let _ = clients;
    parley_eventlog::cursor::Cursor::decode("head", head)
        .map(|cursor| parley_eventlog::cursor::Cursor {
            seq: parley_types::id::Seq(cursor.seq.0 + by.cast_signed()),
            // The mark of a future event is unknown.
            mark: None,
            ..cursor
        })
        .expect("the head is a cursor")
        .encode()
}

async fn statement_18_read_waits_for_its_minimum_cursor(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).replicas(replicas).start().await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let elsewhere = app.clients_elsewhere();
    for index in 0..20 {
        let (message, cursor) = fixture.sent(talk, incoming(&format!("message {index}"))).await;
        let request = ListMessagesRequest {
            account_id: 1,
            conversation_id: talk,
            page_size: 1,
            ..ListMessagesRequest::default()
        };
        let answer = elsewhere.messages.clone().list_messages(after(&cursor, request)).await;
        let newest = &answer.expect("it is read").into_inner().messages[0];
        assert_eq!(newest.id, message.id, "the read sees what was written");
    }
    // The read waits for an event that does not exist yet.
    let head = log_info(&elsewhere, 1).await;
    let awaited = ahead(&elsewhere, &head.head_cursor, 1);
    let waiting = {
        let (elsewhere, awaited) = (elsewhere.clone(), awaited.clone());
        tokio::spawn(async move {
            let request = after(&awaited, GetLogInfoRequest { account_id: 1 });
            elsewhere.events.clone().get_log_info(request).await
        })
    };
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "nothing was written yet");
    fixture.hear(talk, "what it waits for").await;
    let info = waiting.await.expect("it ends").expect("it is answered").into_inner();
    assert!(info.head_seq > head.head_seq);

    // Over HTTP the cursor is text: the response to a write contains what a read sends back, also when the response is replayed.
    let http = app.http();
    let mut said = Vec::new();
    for _ in 0..2 {
        let request = http
            .request("POST", "/api/v1/accounts/1/labels")
            .header("idempotency-key", "label-1");
        let answer = http.answer(request.json(&serde_json::json!({"title": "vip"}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        said.push(
            answer.headers["parley-cursor"]
                .to_str()
                .expect("it is base64")
                .trim_end_matches('=')
                .to_owned(),
        );
    }
    let head = log_info(&app.clients(), 1).await.head_cursor;
    assert_eq!(said, [URL_SAFE_NO_PAD.encode(&head), URL_SAFE_NO_PAD.encode(&head)]);
    let text = said.swap_remove(0);
    let request = http
        .request("GET", "/api/v1/accounts/1/conversations")
        .header("parley-min-cursor", text);
    assert_eq!(http.answer(request).await.status, 200);
    let request = http
        .request("GET", "/api/v1/accounts/1/conversations")
        .header("parley-min-cursor", "nonsense");
    assert_eq!(http.answer(request).await.status, 422);
}

async fn statement_18_read_stops_waiting_at_its_deadline(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let talk = app.fixture().talk().await;
    let clients = app.clients();
    let head = log_info(&clients, 1).await.head_cursor;
    let mut request = after(&ahead(&clients, &head, 1), conversation(talk));
    request.set_timeout(std::time::Duration::from_millis(300));
    let status = clients
        .conversations
        .clone()
        .get_conversation(request)
        .await
        .expect_err("it never comes");
    // The client's own timer may fire first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");

    let status = clients
        .conversations
        .clone()
        .get_conversation(after(&Bytes::from_static(b"cursor"), conversation(talk)))
        .await
        .expect_err("this is no cursor");
    assert_eq!(
        fault(&status).fields.into_iter().collect::<Vec<_>>(),
        ["parley-min-cursor-bin: INVALID"]
    );

    let request = parley_proto::CreateAccountRequest {
        name: "Other".to_owned(),
        ..Default::default()
    };
    let other = app
        .platform()
        .accounts
        .clone()
        .create_account(request)
        .await
        .expect("it is made")
        .into_inner();
    let status = clients
        .conversations
        .clone()
        .get_conversation(after(&other.cursor, conversation(talk)))
        .await
        .expect_err("another account's position");
    assert_eq!(fault(&status).code, Code::PermissionDenied);
}
