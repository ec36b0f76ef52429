//! The content of `/metrics`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use parley_eventlog::cursor::Cursor;
use parley_proto::{GetLogInfoRequest, GetProfileRequest, SubscribeRequest, subscribe_request::Start};
use parley_types::id::{AccountId, Epoch, Seq};

use super::{metrics, sample, speak, value};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::client,
    in_time, on_both,
};

on_both!(
    metrics_count_calls_events_and_streams,
    refused_streams_are_counted,
    log_size_is_reported
);

async fn metrics_count_calls_events_and_streams(backend: Backend) {
    let app = TestApp::start(backend).await;
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::Latest(())),
        ..SubscribeRequest::default()
    };
    let mut stream = app.clients().events.subscribe(request).await.expect("a stream").into_inner();
    speak(&app).await;
    in_time("an event", async {
        while stream
            .message()
            .await
            .expect("the stream goes on")
            .expect("it has no end")
            .events
            .is_empty()
        {}
    })
    .await;
    // Unknown paths are counted under one name.
    let stranger = format!("http://{}/parley.v1.LabelsService/MadeUp", app.server.listeners.grpc);
    let _ = client()
        .post(stranger)
        .header("content-type", "application/grpc-web+proto")
        .send()
        .await;
    let metrics = metrics(&app).await;
    let value = |name: &str, labels: &[&str]| value(&metrics, name, labels);
    let calls = "rpc_server_call_duration_seconds_count";
    let created = [
        "rpc_method=\"parley.v1.MessagesService/CreateMessage\"",
        "rpc_response_status_code=\"OK\"",
    ];
    assert!((value(calls, &created) - 1.0).abs() < f64::EPSILON);
    assert!((value("parley_streams_open", &["parley_stream_kind=\"subscribe\""]) - 1.0).abs() < f64::EPSILON);
    // Two frames of events.frame_bytes.
    assert!((value("parley_stream_memory_limit_bytes", &[]) - 524_288.0).abs() < f64::EPSILON);
    assert!(value("parley_events_delivered_total", &["parley_source=\"memory\""]) >= 1.0);
    assert!(value("parley_delivery_lag_seconds_count", &[]) >= 1.0);
    assert!(value("parley_writer_batch_messages_count", &[]) >= 1.0);
    assert!(value("db_client_connection_count", &["db_client_connection_pool_name=\"write\""]) >= 0.0);
    assert!((value("parley_ready", &["parley_check=\"database\""]) - 1.0).abs() < f64::EPSILON);
    assert!(value(calls, &["rpc_method=\"_OTHER\""]) >= 1.0);
    assert!(!metrics.contains("MadeUp"));
    let route = "http_route=\"/api/v1/accounts/{account_id}/conversations/{conversation_id}/messages\"";
    let request = [route, "http_response_status_code=\"200\"", "http_request_method=\"POST\""];
    assert!((value("http_server_request_duration_seconds_count", &request) - 1.0).abs() < f64::EPSILON);
    let system = match backend {
        Backend::Sqlite => "db_system_name=\"sqlite\"",
        Backend::Postgres => "db_system_name=\"postgresql\"",
    };
    for operation in ["INSERT", "TRANSACTION"] {
        let operation = format!("db_operation_name=\"{operation}\"");
        assert!(value("db_client_operation_duration_seconds_count", &[system, &operation]) >= 1.0);
    }
    assert!((value("parley_log_keep_age_seconds", &[]) - 7.0 * 24.0 * 3600.0).abs() < f64::EPSILON);
    assert!((value("parley_log_keep_held_seconds", &[]) - 14.0 * 24.0 * 3600.0).abs() < f64::EPSILON);
    assert!((value("parley_log_keep_events", &[]) - 100_000_000.0).abs() < f64::EPSILON);
}

/// The size is queried from the database at intervals.
async fn log_size_is_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    in_time("bytes", async {
        while sample(&metrics(&app).await, "parley_log_size_bytes", &[]).is_none_or(|bytes| bytes < 8192.0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn refused_streams_are_counted(backend: Backend) {
    let app = TestApp::start(backend).await;
    // A cursor of an epoch that never existed.
    let elsewhere = Cursor {
        account: AccountId(1),
        epoch: Epoch(1),
        seq: Seq(0),
        mark: None,
    };
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::After(elsewhere.encode())),
        ..SubscribeRequest::default()
    };
    app.clients().events.subscribe(request).await.expect_err("another epoch");
    let metrics = metrics(&app).await;
    let ended = |kind: &str, reason: &str| {
        let labels = [format!("parley_stream_kind=\"{kind}\""), format!("parley_reason=\"{reason}\"")];
        value(&metrics, "parley_streams_ended_total", &[&labels[0], &labels[1]])
    };
    assert!((ended("subscribe", "EPOCH_CHANGED") - 1.0).abs() < f64::EPSILON);
    for kind in ["subscribe", "consume", "pubsub"] {
        assert!(ended(kind, "CURSOR_EXPIRED").abs() < f64::EPSILON, "told from the start");
    }
    assert!(value(&metrics, "parley_streams_open", &["parley_stream_kind=\"pubsub\""]).abs() < f64::EPSILON);
}

#[tokio::test]
async fn calls_refused_by_a_limit_are_counted() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_LIMITS_CALLS_PER_SECOND_PER_TOKEN", "1")
        .env("PARLEY_LIMITS_BURST_PER_TOKEN", "1")
        .start()
        .await;
    let mut refused = 0.0;
    for _ in 0..5 {
        let answer = app.clients().accounts.get_profile(GetProfileRequest {}).await;
        refused += f64::from(u8::from(answer.is_err()));
    }
    assert!(refused >= 1.0);
    let metrics = metrics(&app).await;
    let counted = |reason: &str| value(&metrics, "parley_calls_rejected_total", &[&format!("parley_reason=\"{reason}\"")]);
    assert!((counted("rate") - refused).abs() < f64::EPSILON);
    assert!(counted("busy").abs() < f64::EPSILON);
}

/// A request whose client does not wait for the response is measured as well.
#[tokio::test]
async fn cancelled_requests_are_counted() {
    let app = TestApp::start(Backend::Sqlite).await;
    let request = GetLogInfoRequest { account_id: 1 };
    let head = app
        .clients()
        .events
        .get_log_info(request)
        .await
        .expect("the head")
        .into_inner()
        .head_cursor;
    let mut ahead = Cursor::decode("head", &head).expect("a cursor");
    ahead.seq = ahead.seq.next();
    let waits = client()
        .get(format!("http://{}/api/v1/accounts/1/conversations", app.server.listeners.http))
        .header("api_access_token", ADMINISTRATOR)
        .header("parley-min-cursor", STANDARD_NO_PAD.encode(ahead.encode()))
        .timeout(Duration::from_millis(300));
    assert!(waits.send().await.expect_err("what it waits for never comes").is_timeout());
    in_time("it is counted", async {
        let is_counted = |line: &str| {
            line.starts_with("http_server_request_duration_seconds_count")
                && line.contains("http_route=\"/api/v1/accounts/{account_id}/conversations\"")
                && line.contains("error_type=\"cancelled\"")
        };
        while !metrics(&app).await.lines().any(is_counted) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
