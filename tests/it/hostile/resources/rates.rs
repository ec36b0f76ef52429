//! S-28: what callers without a token, and without a good one, may do within a minute.

use parley::pb::{
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
    s28_defaults_limit_new_sessions,
    rates_are_per_address_and_per_inbox,
    rates_cover_conversations_messages_bytes_and_files,
    service_token_pays_for_its_visitors,
    trusted_proxies_name_the_client,
    failed_authentication_is_limited
);

/// The case as it was found: a hundred calls of one address made a hundred sessions.
async fn s28_defaults_limit_new_sessions(backend: Backend) {
    for (switch, made) in [("", 60..=64), ("anonymous_limits", 100..=100)] {
        let builder = with_product_limits(TestApp::builder(backend)).env("PARLEY_FAULT_SWITCH", switch);
        let app = builder.start().await;
        // A minute gives back sixty, so a slow machine gets a few more.
        let count = Visitor::at(&app, 1).sessions(100).await;
        assert!(made.contains(&count) || (switch.is_empty() && count < 100), "{switch:?}: {count}");
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
    assert_eq!(Visitor::at(&app, 1).sessions(6).await, 3);
    assert_eq!(Visitor::at(&app, 2).sessions(6).await, 2, "the inbox has two left");
    // The gRPC API says the same in its own words.
    let clients = Clients::new(&app.server.doors.grpc, None);
    let request = parley::pb::CreateClientSessionRequest {
        inbox_identifier: INBOX.to_owned(),
        ..Default::default()
    };
    let refused = clients.client.clone().create_client_session(request).await;
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
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(visitor.post(&format!("/{source}/conversations"), json!({})).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let messages = format!("/{source}/conversations/1/messages");
    statuses.clear();
    for _ in 0..5 {
        statuses.push(visitor.post(&messages, json!({"content": "hi"})).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let upload = async |visitor: &Visitor, size: usize| {
        let part = reqwest::multipart::Part::bytes(vec![b'x'; size]).file_name("a.txt");
        let form = reqwest::multipart::Form::new().part("attachments[]", part);
        let url = format!("{}/public/api/v1/inboxes/{INBOX}/contacts{messages}", visitor.root);
        let answer = visitor.client.post(url).multipart(form).send().await.expect("an answer");
        answer.status().as_u16()
    };
    let other = Visitor::at(&app, 2);
    assert_eq!(upload(&other, 10).await, 200);
    assert_eq!(upload(&other, 10).await, 200);
    assert_eq!(upload(&other, 10).await, 429, "a third file");
    let third = Visitor::at(&app, 3);
    assert_eq!(upload(&third, 200_000).await, 200);
    assert_eq!(upload(&third, 200_000).await, 429, "more bytes than the inbox takes");
}

async fn service_token_pays_for_its_visitors(backend: Backend) {
    let app = sessions(backend, 2, 4).start().await;
    let service = service_token(&app).await;
    let integrator = Visitor::at(&app, 1).with("api_access_token", &service);
    assert_eq!(integrator.sessions(10).await, 10, "charged to its token, which has no rate");
    // Neither a user's token nor a bad one pays.
    let user = Visitor::at(&app, 1).with("api_access_token", ADMINISTRATOR);
    assert_eq!(user.sessions(3).await, 2);
    let nobody = Visitor::at(&app, 2).with("api_access_token", "nonsense");
    assert_eq!(nobody.sessions(3).await, 2);
    assert_eq!(Visitor::at(&app, 3).sessions(1).await, 0, "the inbox has none left");
    assert_eq!(integrator.sessions(3).await, 3);
}

async fn trusted_proxies_name_the_client(backend: Backend) {
    let app = sessions(backend, 2, 0)
        .env("PARLEY_LIMITS_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")
        .start()
        .await;
    let proxy = Visitor::at(&app, 1);
    for client in ["192.0.2.1", "1.1.1.1, 192.0.2.2, 10.1.1.1", "2001:db8::1"] {
        assert_eq!(proxy.with("x-forwarded-for", client).sessions(4).await, 2, "{client}");
    }
    assert_eq!(
        proxy.with("x-forwarded-for", "8.8.8.8, 192.0.2.1").sessions(1).await,
        0,
        "what the client wrote itself is not believed"
    );
    assert_eq!(proxy.with("x-forwarded-for", "2001:db8::ffff").sessions(1).await, 0, "the same /64");
    // A stranger that is no proxy is charged as itself.
    let stranger = Visitor::at(&app, 9);
    assert_eq!(stranger.with("x-forwarded-for", "192.0.2.50").sessions(2).await, 2);
    assert_eq!(stranger.with("x-forwarded-for", "192.0.2.51").sessions(2).await, 0);

    // Without the setting only the inbox limits requests with the header, and the log says so once.
    let app = sessions(backend, 2, 5).start().await;
    let proxy = Visitor::at(&app, 1).with("x-forwarded-for", "192.0.2.1");
    assert_eq!(proxy.sessions(7).await, 5);
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
    for number in 0..8 {
        let guess = bad.with("api_access_token", &format!("guess-{number}"));
        statuses.push(guess.send("GET", "/api/v1/profile", None).await.status().as_u16());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
    let refused = bad.send("GET", "/api/v1/profile", None).await;
    if refused.status() == 429 {
        assert!(retry_after(&refused) >= 1);
    }
    // Whoever shares the address and was known before is let in; and another address has tries of its own.
    assert_eq!(good.send("GET", "/api/v1/profile", None).await.status(), 200);
    let elsewhere = Visitor::at(&app, 2).with("api_access_token", "guess");
    assert_eq!(elsewhere.send("GET", "/api/v1/profile", None).await.status(), 401);
    // A wrong login is a failed authentication as well, though the call needs no token.
    let channel = Endpoint::from_shared(format!("http://{}", app.server.doors.grpc)).expect("an address");
    let channel = channel.local_address(Some([127, 0, 0, 3].into())).connect_lazy();
    let mut codes = Vec::new();
    for number in 0..12 {
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

/// Anybody can call an administrative method without a token; each call left a line in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unauthenticated_administration_fills_no_log() {
    let app = TestApp::start(Backend::Sqlite).await;
    let clients = Clients::new(&app.server.doors.grpc, None);
    for _ in 0..600 {
        let refused = clients.accounts.clone().create_token(CreateTokenRequest::default()).await;
        assert_refused(refused, Code::Unauthenticated, "TOKEN_MISSING");
    }
    let lines = app.server.log().matches("AccountsService/CreateToken").count();
    assert!((50..400).contains(&lines), "{lines} lines");
}

/// Each way in that asks for no token is one call of its address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entry_without_a_token_has_a_rate() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LIMITS_ANONYMOUS_CALLS_PER_MINUTE_PER_ADDRESS", "6")
        .start()
        .await;
    let http = async |last: u8, path: &'static str| {
        let visitor = Visitor::at(&app, last);
        let mut last = 0;
        for _ in 0..8 {
            let answer = visitor.send("GET", path, None).await;
            last = answer.status().as_u16();
            if last == 429 {
                assert!(retry_after(&answer) >= 1);
            }
        }
        last
    };
    for (last, path) in [
        (10, "/files/nothing/a.txt"),
        (11, "/files/blobs/nothing/a.txt"),
        (12, "/openapi.json"),
        (13, "/public/api/v1/inboxes/inbox-a"),
    ] {
        assert_eq!(http(last, path).await, 429, "{path}");
    }
    // A WebSocket that would be opened.
    let upgrade = Visitor::at(&app, 14)
        .with("connection", "upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut last = 0;
    for _ in 0..8 {
        last = upgrade.send("GET", "/cable", None).await.status().as_u16();
    }
    assert_eq!(last, 429);

    let channel = |last: u8| {
        let endpoint = Endpoint::from_shared(format!("http://{}", app.server.doors.grpc)).expect("an address");
        endpoint.local_address(Some([127, 0, 0, last].into())).connect_lazy()
    };
    let mut codes = vec![Vec::new(); 4];
    for _ in 0..8 {
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
        assert_eq!(codes[7], Code::ResourceExhausted, "{codes:?}");
    }
    // Calls with a good token are not counted.
    for _ in 0..10 {
        app.scene().talk().await;
    }
}
