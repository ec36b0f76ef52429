//! What the log contains and what it must not contain.

use parley_proto::{CreateTokenRequest, TokenKind};

use super::{CONTENT, TRACE, collector::Collector, speak};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::{Backend, Database},
};

/// At any log level, the log contains no message text and no token, and lines of a sampled trace contain its id.
#[tokio::test]
async fn log_contains_no_message_text_and_no_token() {
    let (_collector, address) = Collector::start().await;
    // An empty database, so that the statements that create the tables are logged too.
    let app = TestApp::builder(Backend::Sqlite)
        .database(Database::create(Backend::Sqlite).await)
        .platform()
        .env("PARLEY_TRACE_OTLP_ENDPOINT", &address)
        .env("PARLEY_LOG_FILTER", "trace")
        .start()
        .await;
    speak(&app).await;
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(1),
        ..CreateTokenRequest::default()
    };
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
        .accounts
        .get_profile(parley_proto::GetProfileRequest {})
        .await
        .expect("it is good");
    let log = app.server.log();
    assert!(log.len() > 5000, "only {} bytes were logged", log.len());
    for secret in [ADMINISTRATOR, made.secret.as_str(), CONTENT] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "the log has {secret}: {line:?}");
    }
    assert!(
        log.contains(&format!(r#""trace_id":"{TRACE}""#)),
        "no line names the trace of the integrator"
    );
}
