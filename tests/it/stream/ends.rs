//! Statement 16: streams end with a status instead of a broken connection.

use bytes::Bytes;
use parley_proto::{CreateTokenRequest, RevokeTokenRequest, TokenKind, subscribe_request::Start};
use tonic::Code;

use crate::support::{
    app::TestApp,
    chain::assert_dense,
    database::Backend,
    fault::{assert_refused, fault},
    on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    statement_16_drain_ends_streams_with_a_cursor,
    statement_16_revoked_token_ends_streams_with_a_status,
    statement_16_stream_requires_a_token
);

async fn statement_16_drain_ends_streams_with_a_cursor(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut events = reader.until(head).await;
    // An idle reader that has received no event.
    let mut idle = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
    idle.until_bookmark().await;

    app.server.terminate();
    let mut cursors: Vec<Bytes> = Vec::new();
    for reader in [&mut reader, &mut idle] {
        let (rest, status) = reader.until_the_end().await;
        assert!(rest.is_empty(), "{rest:?}");
        let fault = fault(&status);
        assert_eq!(
            (fault.code, fault.reason.as_str()),
            (Code::Unavailable, "STREAM_ROTATED"),
            "{status:?}"
        );
        assert!(fault.retry, "{status:?}");
        let cursor = status
            .metadata()
            .get_bin("parley-cursor-bin")
            .expect("the trailers hold the cursor");
        cursors.push(cursor.to_bytes().expect("it is encoded as the suffix says"));
    }
    assert!(
        app.server.wait().await.success(),
        "a drained server ends with success:\n{}",
        app.server.log()
    );

    app.start_again().await;
    app.fixture().hear(conversation, "after the restart").await;
    let now = log_info(&app.clients(), 1).await.head_seq;
    for cursor in cursors {
        let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(cursor))).await;
        let rest = resumed.until(now).await;
        assert_dense(&rest, head + 1);
        if events.len() as u64 == head {
            events.extend(rest);
        }
    }
    assert_dense(&events, 1);
}

async fn statement_16_revoked_token_ends_streams_with_a_status(backend: Backend) {
    let app = TestApp::start(backend).await;
    let made = app
        .clients()
        .accounts
        .create_token(CreateTokenRequest {
            account_id: Some(1),
            kind: TokenKind::Service.into(),
            name: "a subscriber".to_owned(),
            ..CreateTokenRequest::default()
        })
        .await
        .expect("the token is made")
        .into_inner();
    let clients = app.clients_with(&made.secret);
    let mut reader = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
    reader.until_bookmark().await;
    let revoke = RevokeTokenRequest {
        token_id: made.token.expect("always set").id,
        ..RevokeTokenRequest::default()
    };
    app.clients().accounts.revoke_token(revoke).await.expect("the token is revoked");
    let (_, status) = reader.until_the_end().await;
    assert_eq!(
        (status.code(), fault(&status).reason.as_str()),
        (Code::Unauthenticated, "TOKEN_INVALID"),
        "{status:?}"
    );
    let again = Reader::refusal(&clients, everything(1, Start::Earliest(()))).await;
    assert_refused::<()>(Err(again), Code::Unauthenticated, "TOKEN_INVALID");
}

async fn statement_16_stream_requires_a_token(backend: Backend) {
    let app = TestApp::start(backend).await;
    let nobody = crate::support::clients::Clients::new(&app.server.listeners.grpc, None);
    let status = Reader::refusal(&nobody, everything(1, Start::Latest(()))).await;
    assert_refused::<()>(Err(status), Code::Unauthenticated, "TOKEN_MISSING");
    let stranger = app.clients_with("nobody-has-ever-seen-this-token");
    let status = Reader::refusal(&stranger, everything(1, Start::Latest(()))).await;
    assert_refused::<()>(Err(status), Code::Unauthenticated, "TOKEN_INVALID");
    let status = Reader::refusal(&app.clients(), everything(2, Start::Latest(()))).await;
    assert_refused::<()>(Err(status), Code::PermissionDenied, "NOT_A_MEMBER");
}
