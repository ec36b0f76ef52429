//! The limits of one token and of all callers together, over both APIs.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parley_proto::{
    GetProfileRequest, ListLabelsRequest, PubsubKey, SubscribePubsubRequest, SubscribeRequest, labels_service_client::LabelsServiceClient,
    pubsub_service_client::PubsubServiceClient, subscribe_request::Start,
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    clients::Clients,
    database::{Backend, Database},
    in_time, on_both,
};

on_both!(
    token_has_a_rate_limit,
    streams_of_a_token_are_limited,
    streams_of_a_pubsub_token_are_limited
);

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("an ErrorInfo").reason
}

async fn labels(clients: &Clients) -> Result<tonic::Response<parley_proto::ListLabelsResponse>, Status> {
    let request = ListLabelsRequest {
        account_id: 1,
        ..ListLabelsRequest::default()
    };
    LabelsServiceClient::new(clients.service.clone()).list_labels(request).await
}

async fn token_has_a_rate_limit(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_LIMITS_CALLS_PER_SECOND_PER_TOKEN", "1")
        .env("PARLEY_LIMITS_BURST_PER_TOKEN", "5")
        .start()
        .await;
    let clients = app.clients();
    // One call is refilled each second, so a slow machine gets a few more.
    let full = Instant::now();
    let came_back = || full.elapsed().as_secs() + 1;
    for left in (0..5).rev() {
        let answer = labels(&clients).await.expect("within the burst");
        let told = |name: &str| answer.metadata().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        assert_eq!(told("ratelimit-limit").as_deref(), Some("5"));
        let remaining: u64 = told("ratelimit-remaining").and_then(|count| count.parse().ok()).expect("a number");
        assert!((left..=left + came_back()).contains(&remaining), "{remaining} after all but {left}");
        assert!(told("ratelimit-reset").is_some());
    }
    let mut more = 0;
    let refused = loop {
        match labels(&clients).await {
            Ok(_) => more += 1,
            Err(status) => break status,
        }
        assert!(more <= came_back(), "{more} beyond the burst");
    };
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::ResourceExhausted, "RATE_LIMITED".to_owned())
    );
    let wait = refused
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
        .expect("says when");
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(
        refused
            .metadata()
            .get("ratelimit-remaining")
            .map(tonic::metadata::MetadataValue::as_bytes),
        Some(&b"0"[..])
    );

    // The JSON API refuses the call as well.
    let answer = loop {
        let answer = app.http().send("GET", "/api/v1/accounts/1/labels", None).await;
        if answer.status != 200 {
            break answer;
        }
        more += 1;
        assert!(more <= came_back(), "{more} beyond the burst");
    };
    assert_eq!((answer.status, answer.body.as_str()), (429, Some("Retry later")));
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.headers["ratelimit-limit"], "5");

    let other = app.platform();
    let request = parley_proto::ListAccountsRequest::default();
    other
        .accounts
        .clone()
        .list_accounts(request)
        .await
        .expect("another token has a rate of its own");
    tokio::time::sleep(wait).await;
    labels(&clients).await.expect("there is room again");
}

async fn streams_of_a_token_are_limited(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_LIMITS_STREAMS_PER_TOKEN", "2").start().await;
    let request = || SubscribeRequest {
        account_id: 1,
        start: Some(Start::Latest(())),
        ..SubscribeRequest::default()
    };
    let clients = app.clients();
    let open = || async { clients.events.clone().subscribe(request()).await };
    let (mut first, _second) = (open().await.expect("one").into_inner(), open().await.expect("two").into_inner());
    let refused = open().await.expect_err("a third");
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::ResourceExhausted, "RATE_LIMITED".to_owned())
    );
    assert!(refused.get_details_retry_info().is_some());
    first.message().await.expect("the first goes on").expect("with a bookmark");
    drop(first);
    for _ in 0..100 {
        if open().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a place that was left was not given again");
}

/// Contact sessions and users have pubsub tokens; none of them can take all stream slots.
async fn streams_of_a_pubsub_token_are_limited(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_STREAMS_PER_TOKEN", "2")
        .env("PARLEY_EVENTS_MAX_STREAM_AGE_SECONDS", "10")
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "support")
        .start()
        .await;
    let profile = app.clients().accounts.get_profile(GetProfileRequest {}).await;
    let profile = profile.expect("a profile").into_inner();
    let mut keys = vec![PubsubKey {
        pubsub_token: profile.pubsub_token,
        account_id: Some(1),
        user_id: Some(profile.user.expect("always set").id),
    }];
    for _ in 0..2 {
        let made = app
            .http()
            .send("POST", "/public/api/v1/inboxes/support/contacts", Some(&json!({})))
            .await;
        keys.push(PubsubKey {
            pubsub_token: made.body["pubsub_token"].as_str().expect("a session").to_owned(),
            ..PubsubKey::default()
        });
    }
    let pubsub = PubsubServiceClient::new(app.clients().service);
    let open = |key: &PubsubKey| {
        let (mut pubsub, request) = (pubsub.clone(), SubscribePubsubRequest { key: Some(key.clone()) });
        async move { pubsub.subscribe_pubsub(request).await }
    };
    let mut streams = Vec::new();
    for key in &keys {
        for _ in 0..2 {
            streams.push(open(key).await.expect("within the limit").into_inner());
        }
        let refused = open(key).await.expect_err("a third");
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::ResourceExhausted, "RATE_LIMITED".to_owned())
        );
    }
    // They reach the maximum age like all streams.
    for mut stream in streams {
        let end = loop {
            match in_time("the end", stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream ends with a status"),
                Err(status) => break status,
            }
        };
        assert_eq!((end.code(), reason(&end)), (Code::Unavailable, "STREAM_ROTATED".to_owned()));
    }
    open(&keys[0]).await.expect("there is room again");
}

/// Two calls are admitted at once. Of many concurrent calls, the rest are refused immediately with a retry delay, and nothing of theirs is
/// stored.
#[tokio::test]
async fn excess_calls_are_refused_before_any_work() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_LIMITS_CONCURRENT_CALLS", "2")
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let said = join_all((0..200).map(|number| {
        let fixture = &fixture;
        async move { fixture.send(conversation, outgoing(&format!("message {number}"))).await }
    }))
    .await;
    let stored = said.iter().filter(|answer| answer.is_ok()).count();
    let refused: Vec<&Status> = said.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(stored > 0 && !refused.is_empty(), "{stored} stored, {} refused", refused.len());
    for status in refused {
        assert_eq!((status.code(), reason(status)), (Code::ResourceExhausted, "BUSY".to_owned()));
        let wait = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .expect("says when");
        assert!((100..500).contains(&wait.as_millis()), "{wait:?}");
    }
    let count = "SELECT CAST(count(*) AS bigint) FROM messages WHERE message_type = 1";
    let kept = Database::number(&app.database.url(), count).await;
    assert_eq!(usize::try_from(kept), Ok(stored));
}

/// A stream that reaches its maximum age ends with its cursor, and resumes after it.
#[tokio::test]
async fn old_stream_is_rotated() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_EVENTS_MAX_STREAM_AGE_SECONDS", "1")
        .start()
        .await;
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::Earliest(())),
        ..SubscribeRequest::default()
    };
    let mut stream = app.clients().events.subscribe(request).await.expect("a stream").into_inner();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!((end.code(), reason(&end)), (Code::Unavailable, "STREAM_ROTATED".to_owned()));
    assert!(end.metadata().get_bin("parley-cursor-bin").is_some(), "{end:?}");
}
