//! What callers without a token, and with an invalid one, may do within a minute.

use std::{ops::RangeInclusive, time::Instant};

use parley_proto::{
    CreateTokenRequest, GetClientInboxRequest, PubsubKey, RedeemLoginRequest, SubscribePubsubRequest,
    logins_service_client::LoginsServiceClient, pubsub_service_client::PubsubServiceClient,
};
use serde_json::json;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{INBOX, Visitor, retry_after, service_token, with_product_limits};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    fault::{assert_refused, fault},
    on_both,
};

on_both!(
    default_limits_bound_new_sessions,
    rates_are_per_address_and_per_inbox,
    rates_cover_conversations_messages_bytes_and_files,
    sessions_are_charged_to_the_service_token,
    trusted_proxies_identify_the_client,
    failed_authentication_is_limited
);

/// How many calls may have passed since the quota was full: the quota, plus what has been refilled. A slow machine gets a few more.
fn allowed(quota: usize, full: Instant) -> RangeInclusive<usize> {
    let seconds = usize::try_from(full.elapsed().as_secs()).expect("not that long") + 1;
    quota..=quota + seconds * quota / 60
}

/// How many of the responses were successful; the others were refused for their rate.
fn passed(statuses: &[u16]) -> usize {
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

/// The original report: a hundred calls from one address created a hundred sessions.
async fn default_limits_bound_new_sessions(backend: Backend) {
    for switch in ["", "anonymous_limits"] {
        let builder = with_product_limits(TestApp::builder(backend)).env("PARLEY_FAULT_SWITCH", switch);
        let app = builder.start().await;
        let full = Instant::now();
        let count = Visitor::at(&app, 1).sessions(100).await;
        let made = if switch.is_empty() { allowed(60, full) } else { 100..=100 };
        assert!(made.contains(&count), "{switch:?}: {count} of {made:?}");
    }
}

fn sessions(backend: Backend, per_address: u32, per_inbox: u32) -> crate::support::app::Builder {
    TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LIMITS_SESSIONS_PER_MINUTE_PER_ADDRESS", &per_address.to_string())
        .env("PARLEY_LIMITS_SESSIONS_PER_MINUTE_PER_INBOX", &per_inbox.to_string())
}

async fn rates_are_per_address_and_per_inbox(backend: Backend) {
    let app = sessions(backend, 3, 5).start().await;
    let full = Instant::now();
    let first = Visitor::at(&app, 1).sessions(6).await;
    assert!(allowed(3, full).contains(&first), "{first}");
    let of_inbox = first + Visitor::at(&app, 2).sessions(6).await;
    assert!(allowed(5, full).contains(&of_inbox), "the inbox had two left: {of_inbox}");
    // The gRPC API refuses the call as well.
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = parley_proto::CreateClientSessionRequest {
        inbox_identifier: INBOX.to_owned(),
        ..Default::default()
    };
    // One call may have been refilled in the meantime.
    let mut refused = clients.client.clone().create_client_session(request.clone()).await;
    for _ in 0..5 {
        if refused.is_err() {
            break;
        }
        refused = clients.client.clone().create_client_session(request.clone()).await;
    }
    let fault = assert_refused(refused, Code::ResourceExhausted, "RATE_LIMITED");
    assert!(fault.retry);
    assert_eq!(fault.metadata["scope"], "address");
    assert_eq!(fault.metadata["limit"], "3 new sessions a minute");
    let request = GetClientInboxRequest {
        inbox_identifier: INBOX.to_owned(),
    };
    let shown = clients.client.clone().get_client_inbox(request).await;
    shown.expect("what makes nothing goes on");
}

async fn rates_cover_conversations_messages_bytes_and_files(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LIMITS_CONVERSATIONS_PER_MINUTE_PER_ADDRESS", "2")
        .env("PARLEY_LIMITS_SESSION_MESSAGES_PER_MINUTE_PER_ADDRESS", "3")
        .env("PARLEY_LIMITS_SESSION_FILES_PER_MINUTE_PER_ADDRESS", "2")
        .env("PARLEY_LIMITS_SESSION_BYTES_PER_MINUTE_PER_INBOX", "300000")
        .start()
        .await;
    let visitor = Visitor::at(&app, 1);
    let (source, _) = visitor.session().await;
    let full = Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(visitor.post(&format!("/{source}/conversations"), json!({})).await.status().as_u16());
    }
    assert!(allowed(2, full).contains(&passed(&statuses)), "{statuses:?}");
    let messages = format!("/{source}/conversations/1/messages");
    statuses.clear();
    for _ in 0..5 {
        statuses.push(visitor.post(&messages, json!({"content": "hi"})).await.status().as_u16());
    }
    assert!(allowed(3, full).contains(&passed(&statuses)), "{statuses:?}");
    let upload = async |visitor: &Visitor, size: usize| {
        let part = reqwest::multipart::Part::bytes(vec![b'x'; size]).file_name("a.txt");
        let form = reqwest::multipart::Form::new().part("attachments[]", part);
        let url = format!("{}/public/api/v1/inboxes/{INBOX}/contacts{messages}", visitor.root);
        let answer = visitor.client.post(url).multipart(form).send().await.expect("an answer");
        answer.status().as_u16()
    };
    let other = Visitor::at(&app, 2);
    let full_of_other = Instant::now();
    statuses.clear();
    for _ in 0..4 {
        statuses.push(upload(&other, 10).await);
    }
    assert!(allowed(2, full_of_other).contains(&passed(&statuses)), "a third file: {statuses:?}");
    statuses.clear();
    for last in 3..6 {
        statuses.push(upload(&Visitor::at(&app, last), 200_000).await);
    }
    // Most of the 300,000 bytes per minute are left, and 5,000 per second are refilled.
    let most = (300_000 + 5_000 * (full.elapsed().as_secs() + 1)) / 200_000;
    let count = passed(&statuses) as u64;
    assert!((1..=most).contains(&count), "more bytes than the inbox takes: {statuses:?}");
}

async fn sessions_are_charged_to_the_service_token(backend: Backend) {
    let app = sessions(backend, 2, 4).start().await;
    let service = service_token(&app).await;
    let integrator = Visitor::at(&app, 1).with("api_access_token", &service);
    assert_eq!(integrator.sessions(10).await, 10, "charged to its token, which has no rate");
    // Calls with a user's token or an invalid one are charged to the address.
    let full = Instant::now();
    let user = Visitor::at(&app, 1).with("api_access_token", ADMINISTRATOR).sessions(3).await;
    assert!(allowed(2, full).contains(&user), "{user}");
    let nobody = Visitor::at(&app, 2).with("api_access_token", "nonsense").sessions(3).await;
    assert!(nobody <= *allowed(2, full).end(), "{nobody}");
    let of_inbox = user + nobody + Visitor::at(&app, 3).sessions(1).await;
    assert!(allowed(4, full).contains(&of_inbox), "the inbox has none left: {of_inbox}");
    assert_eq!(integrator.sessions(3).await, 3);
}

async fn trusted_proxies_identify_the_client(backend: Backend) {
    let app = sessions(backend, 2, 0)
        .env("PARLEY_LIMITS_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")
        .start()
        .await;
    let proxy = Visitor::at(&app, 1);
    // Both headers of each pair identify the same client: entries that the client wrote itself are ignored, and an IPv6 /64 counts as one
    // address.
    for (client, same) in [
        ("192.0.2.1", "8.8.8.8, 192.0.2.1"),
        ("1.1.1.1, 192.0.2.2, 10.1.1.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff"),
    ] {
        let full = Instant::now();
        let count = proxy.with("x-forwarded-for", client).sessions(2).await;
        assert_eq!(count, 2, "{client}");
        let all = count + proxy.with("x-forwarded-for", same).sessions(4).await;
        assert!(allowed(2, full).contains(&all), "{client} and {same}: {all}");
    }
    // A stranger that is not a trusted proxy is charged as itself.
    let (stranger, full) = (Visitor::at(&app, 9), Instant::now());
    let count = stranger.with("x-forwarded-for", "192.0.2.50").sessions(2).await;
    assert_eq!(count, 2);
    let all = count + stranger.with("x-forwarded-for", "192.0.2.51").sessions(4).await;
    assert!(allowed(2, full).contains(&all), "{all}");

    // Without the setting, requests with the header are limited by the inbox only, and the log says so once.
    let app = sessions(backend, 2, 5).start().await;
    let proxy = Visitor::at(&app, 1).with("x-forwarded-for", "192.0.2.1");
    let full = Instant::now();
    let count = proxy.sessions(7).await;
    assert!(allowed(5, full).contains(&count), "{count}");
    assert_eq!(app.server.log().matches("limits.trusted_proxies is empty").count(), 1);
}

async fn failed_authentication_is_limited(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_FAILED_AUTHENTICATIONS_PER_MINUTE_PER_ADDRESS", "5")
        .env("PARLEY_AUTH_CACHE_SECONDS", "0")
        .start()
        .await;
    let (good, bad) = (Visitor::at(&app, 1).with("api_access_token", ADMINISTRATOR), Visitor::at(&app, 1));
    assert_eq!(good.send("GET", "/api/v1/profile", None).await.status(), 200);
    let mut statuses = Vec::new();
    for number in 0..20 {
        let guess = bad.with("api_access_token", &format!("guess-{number}"));
        statuses.push(guess.send("GET", "/api/v1/profile", None).await.status().as_u16());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
    let refused = bad.send("GET", "/api/v1/profile", None).await;
    if refused.status() == 429 {
        assert!(retry_after(&refused) >= 1);
    }
    // A caller at the same address whose token was cached before is served, and another address has its own attempts.
    assert_eq!(good.send("GET", "/api/v1/profile", None).await.status(), 200);
    let elsewhere = Visitor::at(&app, 2).with("api_access_token", "guess");
    assert_eq!(elsewhere.send("GET", "/api/v1/profile", None).await.status(), 401);
    // An invalid login counts as a failed authentication, although the call needs no token.
    let channel = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc)).expect("an address");
    let channel = channel.local_address(Some([127, 0, 0, 3].into())).connect_lazy();
    let mut codes = Vec::new();
    for number in 0..20 {
        let key = PubsubKey {
            pubsub_token: format!("guess-{number}"),
            ..PubsubKey::default()
        };
        let tried = PubsubServiceClient::new(channel.clone())
            .subscribe_pubsub(SubscribePubsubRequest { key: Some(key) })
            .await;
        codes.push(fault(&tried.expect_err("a guess")).reason);
    }
    assert!(codes[..5].iter().all(|reason| reason != "RATE_LIMITED"), "{codes:?}");
    assert!(codes[5..].iter().any(|reason| reason == "RATE_LIMITED"), "{codes:?}");
}

/// Anyone can call an administrative method without a token, and each call used to leave a line in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unauthenticated_administration_does_not_fill_the_log() {
    let app = TestApp::start(Backend::Sqlite).await;
    let clients = Clients::new(&app.server.listeners.grpc, None);
    for _ in 0..600 {
        let refused = clients.accounts.clone().create_token(CreateTokenRequest::default()).await;
        assert_refused(refused, Code::Unauthenticated, "TOKEN_MISSING");
    }
    let lines = app.server.log().matches("AccountsService/CreateToken").count();
    assert!((50..400).contains(&lines), "{lines} lines");
}

/// The number of calls per entry point, of which six pass at once.
const TRIES: usize = 12;

/// Each entry point without authentication counts as a call of the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_point_without_a_token_has_a_rate() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LIMITS_ANONYMOUS_CALLS_PER_MINUTE_PER_ADDRESS", "6")
        .start()
        .await;
    let http = async |last: u8, path: &'static str| {
        let visitor = Visitor::at(&app, last);
        let mut statuses = Vec::new();
        for _ in 0..TRIES {
            let answer = visitor.send("GET", path, None).await;
            statuses.push(answer.status().as_u16());
            if answer.status() == 429 {
                assert!(retry_after(&answer) >= 1);
            }
        }
        statuses
    };
    // The calls of the quota pass, and at least one of the rest is refused: a slow machine gets one more every ten seconds.
    let is_limited = |statuses: &[u16]| !statuses[..6].contains(&429) && statuses[6..].contains(&429);
    for (last, path) in [
        (10, "/files/nothing/a.txt"),
        (11, "/files/blobs/nothing/a.txt"),
        (12, "/openapi.json"),
        (13, "/public/api/v1/inboxes/inbox-a"),
    ] {
        let statuses = http(last, path).await;
        assert!(is_limited(&statuses), "{path}: {statuses:?}");
    }
    // A WebSocket handshake.
    let upgrade = Visitor::at(&app, 14)
        .with("connection", "upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut statuses = Vec::new();
    for _ in 0..TRIES {
        statuses.push(upgrade.send("GET", "/cable", None).await.status().as_u16());
    }
    assert!(is_limited(&statuses), "{statuses:?}");

    let channel = |last: u8| {
        let endpoint = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc)).expect("an address");
        endpoint.local_address(Some([127, 0, 0, last].into())).connect_lazy()
    };
    let mut codes = vec![Vec::new(); 4];
    for _ in 0..TRIES {
        let health = HealthClient::new(channel(20)).check(HealthCheckRequest::default()).await;
        codes[0].push(health.map_or_else(|status| status.code(), |_| Code::Ok));
        let login = LoginsServiceClient::new(channel(21))
            .redeem_login(RedeemLoginRequest::default())
            .await;
        codes[1].push(login.expect_err("no login").code());
        let pubsub = PubsubServiceClient::new(channel(22))
            .subscribe_pubsub(SubscribePubsubRequest::default())
            .await;
        codes[2].push(pubsub.expect_err("no key").code());
        let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel(23));
        let listed = reflection.server_reflection_info(tokio_stream::empty()).await;
        codes[3].push(listed.map_or_else(|status| status.code(), |_| Code::Ok));
    }
    for codes in codes {
        assert!(codes[..6].iter().all(|code| *code != Code::ResourceExhausted), "{codes:?}");
        assert!(codes[6..].contains(&Code::ResourceExhausted), "{codes:?}");
    }
    // Calls with a valid token are not counted.
    for _ in 0..10 {
        app.fixture().talk().await;
    }
}

/// A body that cannot be parsed causes no call, so nothing looks up its token. It is charged to the address nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_invalid_tokens_are_charged_to_the_address() {
    for switch in ["", "anonymous_limits"] {
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
            .env("PARLEY_LIMITS_ANONYMOUS_CALLS_PER_MINUTE_PER_ADDRESS", "6")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let statuses = async |token: &str, path: &str| {
            let visitor = Visitor::at(&app, 20).with("api_access_token", token);
            let mut statuses = Vec::new();
            for _ in 0..TRIES {
                let request = visitor
                    .client
                    .post(format!("{}{path}", visitor.root))
                    .headers(visitor.headers.clone());
                let request = request.header("content-type", "application/json").body("{");
                statuses.push(request.send().await.expect("an answer").status().as_u16());
            }
            statuses
        };
        let of_junk = statuses("junk", &format!("/public/api/v1/inboxes/{INBOX}/contacts")).await;
        assert_eq!(of_junk.contains(&429), switch.is_empty(), "{of_junk:?}");
        // A caller at the same address with a valid token is not delayed, even if the token was not used before.
        assert_eq!(statuses(ADMINISTRATOR, "/api/v1/accounts/1/contacts").await, [400; TRIES]);
    }
}

/// Each call of a session that writes or publishes has a rate per address and per inbox, also behind an undeclared proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_a_session_has_a_rate() {
    for switch in ["", "anonymous_limits"] {
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
            .env("PARLEY_LIMITS_SESSION_MESSAGES_PER_MINUTE_PER_INBOX", "6")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let visitor = Visitor::at(&app, 20).with("x-forwarded-for", "192.0.2.1");
        let (source, _) = visitor.session().await;
        let made = visitor.post(&format!("/{source}/conversations"), json!({})).await;
        let made: serde_json::Value = made.json().await.expect("JSON");
        let session = format!("/public/api/v1/inboxes/{INBOX}/contacts/{source}");
        let conversation = format!("{session}/conversations/{}", made["id"]);
        let mut passed = 0;
        for _ in 0..TRIES {
            for (method, path, body) in [
                ("GET", session.clone(), None),
                (
                    "POST",
                    format!("{conversation}/toggle_typing"),
                    Some(json!({"typing_status": "on"})),
                ),
                ("POST", format!("{conversation}/update_last_seen"), None),
                ("POST", format!("{conversation}/toggle_status"), None),
            ] {
                let status = visitor.send(method, &path, body).await.status().as_u16();
                assert!([200, 429].contains(&status), "{method} {path}: {status}");
                passed += usize::from(status == 200);
            }
        }
        if switch.is_empty() {
            assert!((6..4 * TRIES).contains(&passed), "{passed}");
        } else {
            assert_eq!(passed, 4 * TRIES);
        }
    }
}
