//! Statement 16: every status that ends an open stream contains the stream's last cursor. One test for each reason in `docs/stream.md`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parley_proto::{
    CreateTokenRequest, GetProfileRequest, PubsubKey, RevokeTokenRequest, SubscribePubsubRequest, TokenKind,
    pubsub_service_client::PubsubServiceClient, subscribe_request::Start,
};
use tonic::{Code, Status};

use crate::support::{
    app::TestApp,
    chain::assert_dense,
    clients::Clients,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    statement_16_token_invalid_has_the_cursor,
    statement_16_consumer_taken_over_has_the_cursor,
    statement_16_invalid_field_of_a_session_has_the_cursor,
    statement_16_epoch_changed_has_the_cursor
);

fn cursor(status: &Status) -> Option<Bytes> {
    status
        .metadata()
        .get_bin("parley-cursor-bin")
        .and_then(|cursor| cursor.to_bytes().ok())
}

/// Asserts the code and the reason, and that the stream can be resumed after what was read of it.
async fn assert_resumes(app: &TestApp, end: &Status, (code, reason): (Code, &str), read: u64) {
    assert_eq!((end.code(), fault(end).reason.as_str()), (code, reason), "{end:?}");
    let cursor = cursor(end).expect("the trailers hold the cursor");
    let head = log_info(&app.clients(), 1).await.head_seq;
    let rest = Reader::open(&app.clients(), everything(1, Start::After(cursor)))
        .await
        .until(head)
        .await;
    assert_dense(&rest, read + 1);
}

async fn head(app: &TestApp) -> u64 {
    log_info(&app.clients(), 1).await.head_seq
}

/// Creates a token of the administrator. Returns it and its id.
async fn another_token(app: &TestApp) -> (String, i64) {
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(1),
        ..CreateTokenRequest::default()
    };
    let made = app.platform().accounts.create_token(request).await.expect("made").into_inner();
    (made.secret, made.token.expect("always set").id)
}

async fn statement_16_token_invalid_has_the_cursor(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "end_cursor")] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_AUTH_CACHE_SECONDS", "1")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let (secret, id) = another_token(&app).await;
        let (fixture, clients) = (app.fixture(), app.clients_with(&secret));
        let talk = fixture.talk().await;
        let read = head(&app).await;
        let mut reader = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
        reader.until(read).await;
        let mut session = Session::open(&clients, plenty(1, "worker")).await;
        session.until(read).await;
        let profile = clients.accounts.clone().get_profile(GetProfileRequest {}).await.expect("a profile");
        let key = PubsubKey {
            pubsub_token: profile.into_inner().pubsub_token,
            account_id: Some(1),
            user_id: Some(1),
        };
        let request = SubscribePubsubRequest { key: Some(key) };
        let mut pubsub = PubsubServiceClient::new(Clients::new(&app.server.listeners.grpc, None).service);
        let mut pubsub = pubsub.subscribe_pubsub(request).await.expect("open").into_inner();
        // The first bookmark shows that the stream is open.
        in_time("a bookmark", pubsub.message()).await.expect("open");
        let events = app
            .http()
            .with_token(&secret)
            .request("GET", "/api/v1/accounts/1/events?start=earliest");
        let mut events = in_time("the stream", events.send()).await.expect("open");
        let revoke = RevokeTokenRequest {
            token_id: id,
            ..RevokeTokenRequest::default()
        };
        app.platform().accounts.revoke_token(revoke).await.expect("revoked");

        let mut sent = String::new();
        while let Some(chunk) = in_time("the end", events.chunk()).await.expect("it ends whole") {
            sent.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        let last = sent.trim_end().rsplit("\n\n").next().unwrap_or_default();
        assert!(last.contains("TOKEN_INVALID"), "{last}");
        let id = last.lines().find_map(|line| line.strip_prefix("id:")).map(str::trim);
        assert_eq!(id.is_some(), on, "{last}");
        let (_, end) = reader.until_the_end().await;
        let ends = [
            end,
            session.end().await,
            in_time("the end", async {
                loop {
                    if let Err(status) = pubsub.message().await {
                        return status;
                    }
                }
            })
            .await,
        ];
        if !on {
            assert!(ends.iter().all(|end| cursor(end).is_none()), "{ends:?}");
            continue;
        }
        fixture.say(talk, "afterwards").await;
        for end in &ends {
            assert_resumes(&app, end, (Code::Unauthenticated, "TOKEN_INVALID"), read).await;
        }
        let cursor = URL_SAFE_NO_PAD.decode(id.expect("compared above")).expect("a cursor");
        let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(cursor.into()))).await;
        assert_dense(&resumed.until(head(&app).await).await, read + 1);
    }
}

async fn statement_16_consumer_taken_over_has_the_cursor(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let read = head(&app).await;
    let mut older = Session::open(&app.clients(), plenty(1, "worker")).await;
    older.until(read).await;
    let _newer = Session::open(&app.clients(), plenty(1, "worker")).await;
    let end = older.end().await;
    app.fixture().say(talk, "afterwards").await;
    assert_resumes(&app, &end, (Code::Aborted, "CONSUMER_TAKEN_OVER"), read).await;
}

async fn statement_16_invalid_field_of_a_session_has_the_cursor(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let read = head(&app).await;
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    session.until(read).await;
    session.say_commit(&Bytes::from_static(b"no cursor")).await;
    let end = session.end().await;
    app.fixture().say(talk, "afterwards").await;
    assert_resumes(&app, &end, (Code::InvalidArgument, "INVALID_FIELD"), read).await;
}

async fn statement_16_epoch_changed_has_the_cursor(backend: Backend) {
    if backend == Backend::Sqlite {
        // On SQLite a single process owns the file, so the log cannot go back while it runs.
        return;
    }
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_POLL_INTERVAL_MILLISECONDS", "50")
        .start()
        .await;
    app.fixture().talk().await;
    let read = head(&app).await;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    let events = reader.until(read).await;
    // Simulates a failover to a standby that lagged behind.
    let lost = read - 1;
    app.database
        .run(&format!(
            "UPDATE account_logs SET head_seq = {lost} WHERE account_id = 1; DELETE FROM events WHERE account_id = 1 AND seq > {lost}"
        ))
        .await;
    let (_, end) = in_time("the end", reader.until_the_end()).await;
    assert_eq!(
        (end.code(), fault(&end).reason.as_str()),
        (Code::OutOfRange, "EPOCH_CHANGED"),
        "{end:?}"
    );
    assert_eq!(
        cursor(&end),
        events.last().map(|last| last.cursor.clone()),
        "how far the stream came"
    );
}
