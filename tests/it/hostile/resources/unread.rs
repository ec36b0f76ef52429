//! Responses and requests of unary calls whose client never opens its window: their bytes are charged and their time is limited.

use bytes::Bytes;
use http::HeaderMap;
use parley_proto::{GetClientInboxRequest, ListMessagesRequest};
use tonic::Code;

use super::{INBOX, window::Closed};
use crate::support::{
    api_fixture::outgoing,
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    fault::fault,
    in_time,
};

/// The number of unread responses: together more than the budget, which is 32 MiB of responses with these settings.
const ANSWERS: usize = 30;

/// A server with the smallest request memory, and a conversation whose message list is a response of more than 1.2 MiB.
async fn server(without: &str) -> (TestApp, ListMessagesRequest) {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LIMITS_REQUEST_MEMORY_BYTES", "1")
        .env("PARLEY_GRPC_MAX_MESSAGE_BYTES", "2097152")
        .env("PARLEY_HTTP_MAX_BODY_BYTES", "2097152")
        .env("PARLEY_EVENTS_STALL_TIMEOUT_SECONDS", "4")
        .env("PARLEY_FAULT_SWITCH", without)
        .start()
        .await;
    let talk = app.fixture().talk().await;
    for _ in 0..9 {
        app.fixture().sent(talk, outgoing(&"x".repeat(149_000))).await;
    }
    let request = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    (app, request)
}

fn path(request: &ListMessagesRequest) -> String {
    format!("/api/v1/accounts/1/conversations/{}/messages", request.conversation_id)
}

/// Requests the messages on a connection without a window, and leaves the responses unread.
async fn leave_unread(connection: &Closed, request: &ListMessagesRequest, is_grpc: bool) -> Vec<http::Response<h2::RecvStream>> {
    let mut headers = HeaderMap::new();
    headers.insert("api_access_token", ADMINISTRATOR.parse().expect("a header"));
    let mut open = Vec::new();
    for _ in 0..ANSWERS {
        let sent = if is_grpc {
            connection.call("MessagesService/ListMessages", ADMINISTRATOR, request, true).await
        } else {
            connection.send("GET", &path(request), headers.clone(), Bytes::new(), true).await
        };
        open.push(sent.head().await);
    }
    open
}

/// Whether a caller that reads is refused for lack of memory, over each API.
async fn is_busy(app: &TestApp, request: &ListMessagesRequest) -> [bool; 2] {
    let by_grpc = match app.clients().messages.list_messages(request.clone()).await {
        Ok(_) => false,
        Err(status) => {
            let fault = fault(&status);
            assert_eq!(
                (status.code(), fault.reason.as_str(), fault.retry),
                (Code::ResourceExhausted, "BUSY", true)
            );
            true
        }
    };
    let answer = app.http().send("GET", &path(request), None).await;
    assert!([200, 503].contains(&answer.status), "{}", answer.body);
    if answer.status == 503 {
        assert!(answer.headers.contains_key("retry-after"));
    }
    [by_grpc, answer.status == 503]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_are_charged_and_released() {
    let (app, request) = server("").await;
    for is_grpc in [true, false] {
        let listener = if is_grpc {
            &app.server.listeners.grpc
        } else {
            &app.server.listeners.http
        };
        let connection = Closed::to(listener).await;
        let open = leave_unread(&connection, &request, is_grpc).await;
        assert_eq!(is_busy(&app, &request).await, [true; 2], "gRPC: {is_grpc}");
        in_time("room for requests", async {
            while is_busy(&app, &request).await != [false; 2] {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        })
        .await;
        // The streams and their connection still exist; only the responses were dropped.
        assert!(!connection.has_ended(), "gRPC: {is_grpc}");
        drop(open);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_charge_unread_responses_are_unbounded() {
    let (app, request) = server("unread_answers").await;
    for is_grpc in [true, false] {
        let listener = if is_grpc {
            &app.server.listeners.grpc
        } else {
            &app.server.listeners.http
        };
        let connection = Closed::to(listener).await;
        let open = leave_unread(&connection, &request, is_grpc).await;
        assert_eq!(is_busy(&app, &request).await, [false; 2], "gRPC: {is_grpc}");
        drop(open);
    }
}

/// The first chunk of a response cannot be taken back from the connection, so many unread responses cost the client its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_with_many_unread_responses_is_closed() {
    let (app, _) = server("").await;
    let message = GetClientInboxRequest {
        inbox_identifier: INBOX.to_owned(),
    };
    let grpc = Closed::to(&app.server.listeners.grpc).await;
    let http = Closed::to(&app.server.listeners.http).await;
    let few = Closed::to(&app.server.listeners.grpc).await;
    let mut open = Vec::new();
    for number in 0..70 {
        open.push(grpc.call("ClientService/GetClientInbox", "", &message, true).await.head().await);
        let path = format!("/public/api/v1/inboxes/{INBOX}");
        let sent = http.send("GET", &path, HeaderMap::new(), Bytes::new(), true).await;
        open.push(sent.head().await);
        if number < 10 {
            open.push(few.call("ClientService/GetClientInbox", "", &message, true).await.head().await);
        }
    }
    in_time("the end of both connections", async {
        while !grpc.has_ended() || !http.has_ended() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(!few.has_ended());
    drop(open);
}
