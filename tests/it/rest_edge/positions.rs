//! Cursors of another log or another account, which cannot be resumed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parley_proto::CreateAccountRequest;
use serde_json::Value as Json;

use crate::support::{app::TestApp, database::Backend, http::Http, on_both, reader::log_info};

on_both!(cursors_of_other_logs_are_refused);

/// A read that waits for the cursor, and a stream that starts after it. Returns the status and the body of each.
async fn named(http: &Http, cursor: &[u8]) -> [(u16, Json); 2] {
    let text = URL_SAFE_NO_PAD.encode(cursor);
    let read = http.request("GET", "/api/v1/accounts/1/labels").header("parley-min-cursor", &text);
    let read = http.answer(read).await;
    let stream = http
        .answer(http.request("GET", &format!("/api/v1/accounts/1/events?after={text}")))
        .await;
    [(read.status, read.body), (stream.status, stream.body)]
}

async fn cursors_of_other_logs_are_refused(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = TestApp::start(backend).await;
    let http = app.http();

    let info = log_info(&app.clients(), 1).await;
    let foreign = log_info(&other.clients(), 1).await.head_cursor;
    for (status, body) in named(&http, &foreign).await {
        assert_eq!((status, &body["reason"]), (410, &Json::from("EPOCH_CHANGED")), "{body}");
        assert_eq!(body["epoch"], info.epoch.as_str());
    }

    let request = CreateAccountRequest {
        name: "Other".to_owned(),
        ..Default::default()
    };
    let made = app.platform().accounts.clone().create_account(request).await.expect("it is made");
    let [read, stream] = named(&http, &made.into_inner().cursor).await;
    // A read only waits for cursors of the caller's accounts.
    assert_eq!(read.0, 401, "{}", read.1);
    assert_eq!(
        (stream.0, &stream.1["reason"]),
        (422, &Json::from("CURSOR_OF_ANOTHER_ACCOUNT")),
        "{}",
        stream.1
    );
}
