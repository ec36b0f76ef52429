//! A token in each accepted form, with each API.

use parley_proto::{
    GetProfileRequest, SubscribeRequest, accounts_service_client::AccountsServiceClient, events_service_client::EventsServiceClient,
    subscribe_request::Start,
};
use prost::Message as _;
use reqwest::header::{HeaderMap, HeaderName};
use tonic::{Code, metadata::MetadataKey, transport::Endpoint};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::client,
    on_both,
};

on_both!(every_api_accepts_every_token_form);

const WRONG: &str = "not-a-token-of-anybody";

/// Headers, and whether they authenticate as the administrator. If there are several, the first form in the documentation counts.
fn forms() -> Vec<(Vec<(&'static str, String)>, bool)> {
    let (good, bad) = (ADMINISTRATOR.to_owned(), WRONG.to_owned());
    let bearer = |token: &str| format!("Bearer {token}");
    vec![
        (vec![("api_access_token", good.clone())], true),
        (vec![("api-access-token", good.clone())], true),
        (vec![("authorization", bearer(&good))], true),
        (vec![("authorization", format!("bearer  {good}"))], true),
        (vec![("api_access_token", bad.clone())], false),
        (vec![("authorization", bearer(&bad))], false),
        (vec![("authorization", format!("Basic {good}"))], false),
        (vec![("authorization", good.clone())], false),
        (vec![], false),
        (vec![("api_access_token", good.clone()), ("authorization", bearer(&bad))], true),
        (vec![("api_access_token", bad.clone()), ("authorization", bearer(&good))], false),
        (vec![("api-access-token", good.clone()), ("authorization", bearer(&bad))], true),
        (vec![("api_access_token", bad.clone()), ("api-access-token", good.clone())], false),
        (
            vec![
                ("api_access_token", String::new()),
                ("api-access-token", " ".to_owned()),
                ("authorization", bearer(&good)),
            ],
            true,
        ),
    ]
}

fn headers(form: &[(&'static str, String)]) -> HeaderMap {
    form.iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header")))
        .collect()
}

async fn every_api_accepts_every_token_form(backend: Backend) {
    let app = TestApp::start(backend).await;
    let channel = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc))
        .expect("a URI")
        .connect_lazy();
    let (http, grpc) = (
        format!("http://{}", app.server.listeners.http),
        format!("http://{}", app.server.listeners.grpc),
    );
    for (form, is_good) in forms() {
        let what = format!("{form:?}");
        let status = if is_good { 200 } else { 401 };
        for path in [
            "/api/v1/profile",
            "/api/v1/accounts/1/contacts",
            "/api/v1/accounts/1/events?start=latest",
        ] {
            let answer = client()
                .get(format!("{http}{path}"))
                .headers(headers(&form))
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status(), status, "{path}: {what}");
        }

        let metadata = |request: &mut tonic::metadata::MetadataMap| {
            for (name, value) in &form {
                let key = MetadataKey::from_bytes(name.as_bytes()).expect("a key");
                request.insert(key, value.parse().expect("a value"));
            }
        };
        let mut request = tonic::Request::new(GetProfileRequest {});
        metadata(request.metadata_mut());
        let code = AccountsServiceClient::new(channel.clone())
            .get_profile(request)
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok);
        let expected = if is_good { Code::Ok } else { Code::Unauthenticated };
        assert_eq!(code, expected, "gRPC: {what}");
        let mut request = tonic::Request::new(SubscribeRequest {
            account_id: 1,
            start: Some(Start::Latest(())),
            ..SubscribeRequest::default()
        });
        metadata(request.metadata_mut());
        let opened = EventsServiceClient::new(channel.clone()).subscribe(request).await;
        let code = opened.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code, expected, "a stream: {what}");

        let mut body = vec![0, 0, 0, 0, 0];
        GetProfileRequest {}.encode(&mut body).expect("it has room");
        let web = client()
            .post(format!("{grpc}/parley.v1.AccountsService/GetProfile"))
            .header("content-type", "application/grpc-web+proto")
            .headers(headers(&form))
            .body(body);
        let answer = web.send().await.expect("an answer");
        let in_head = answer.headers().get("grpc-status").cloned();
        let body = answer.bytes().await.expect("the body arrives");
        let trailers = String::from_utf8_lossy(&body).into_owned();
        let is_ok = in_head.is_none_or(|code| code == "0") && trailers.contains("grpc-status:0");
        assert_eq!(is_ok, is_good, "gRPC-Web: {what}");
    }
}

/// The client API needs no token, so an invalid one is not refused there, whatever its form.
#[tokio::test]
async fn client_api_ignores_invalid_tokens() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .start()
        .await;
    let url = format!("http://{}/public/api/v1/inboxes/inbox-a", app.server.listeners.http);
    for (form, _) in forms() {
        let answer = client().get(&url).headers(headers(&form)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{form:?}");
    }
}
