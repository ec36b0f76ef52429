//! Tests of the REST gateway, with and without services.

use std::collections::HashMap;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use parley_proto::{
    self as pb,
    messages_service_server::{MessagesService, MessagesServiceServer},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

fn test_router(routes: Routes) -> Router {
    let config = Config {
        anonymous: parley_admission::rate_limit::AnonymousLimits::new(parley_admission::rate_limit::Config::default()),
        discard_uploads: DiscardUploads::new(|_| Box::pin(async {})),
        base_url: String::new(),
        cors: crate::origins::AllowedOrigins::None,
        drain: tokio_util::sync::CancellationToken::new(),
        max_body_bytes: 1000,
        memory: parley_admission::request_memory::RequestMemory::unlimited(),
        scheme: "http",
    };
    router(routes, config)
}

async fn send(method: Method, path: &str, body: &str) -> (StatusCode, Json) {
    send_to(test_router(Routes::default()), method, path, body).await
}

async fn send_to(router: Router, method: Method, path: &str, body: &str) -> (StatusCode, Json) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("api-access-token", "secret")
        .header("idempotency-key", "0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 10_000_000).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn unknown_routes_are_404() {
    let not_found = (StatusCode::NOT_FOUND, json!({ "status": 404, "error": "Not Found" }));
    for (method, path) in [
        (Method::GET, "/nothing"),
        (Method::GET, "/api/v1/accounts/1/nothing"),
        (Method::POST, "/api/v1/accounts/1/contacts/import.json"),
        (Method::DELETE, "/api/v1/profile"),
        (Method::GET, "/api/v1/accounts/1/conversations/2/messages/3"),
    ] {
        assert_eq!(send(method, path, "").await, not_found, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_checked_before_the_call() {
    assert_eq!(
        send(Method::POST, "/api/v1/accounts/1/contacts.json", "{").await,
        (StatusCode::BAD_REQUEST, json!({ "status": 400, "error": "Bad Request" }))
    );
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(1000));
    assert_eq!(
        send(Method::POST, "/api/v1/accounts/1/contacts", &long).await,
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            json!({ "status": 413, "error": "Payload Too Large" })
        )
    );
}

/// Pages must be able to read server errors too.
#[tokio::test]
async fn public_server_errors_allow_any_origin() {
    for (path, allowed) in [("/public/api/v1/inboxes/x", Some("*")), ("/api/v1/profile", None)] {
        let request = Request::get(path)
            .header("origin", "https://a.example")
            .body(Body::empty())
            .unwrap();
        let response = test_router(Routes::default()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        let origin = response
            .headers()
            .get("access-control-allow-origin")
            .map(|value| value.to_str().unwrap());
        assert_eq!(origin, allowed, "{path}");
    }
}

/// There are no services, so a request that is routed gets 500 and not 404.
#[tokio::test]
async fn accepts_format_suffixes_and_put() {
    for (method, path) in [
        (Method::GET, "/api/v1/profile.json"),
        (Method::GET, "/api/v1/accounts/1/contacts/7.json"),
        (Method::PUT, "/api/v1/accounts/1/inboxes/7"),
        (Method::PUT, "/api/v1/accounts/1/conversations/7.json"),
        (Method::GET, "/api/v1/accounts/1/conversations/meta.json"),
        (Method::GET, "//api/v1/accounts/1//conversations/meta.json/"),
        (Method::POST, "/api/v1/accounts/1/inboxes/"),
    ] {
        assert_eq!(send(method, path, "").await.0, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
}

/// Stores nothing: the response repeats the request.
struct Echo;

type Answered<T> = Result<tonic::Response<T>, Status>;

#[tonic::async_trait]
impl MessagesService for Echo {
    type SendMessagesStream = tokio_stream::Empty<Result<pb::SendMessagesResponse, Status>>;

    async fn create_message(&self, request: tonic::Request<pb::CreateMessageRequest>) -> Answered<pb::CreateMessageResponse> {
        if request.metadata().get("api_access_token").is_none_or(|token| token != "secret") {
            return Err(Status::unauthenticated("no token"));
        }
        let request = request.into_inner();
        let draft = request.message.unwrap_or_default();
        if draft.content.as_deref() == Some("flood") {
            let details = ErrorDetails::with_error_info("RATE_LIMITED", "parley", HashMap::<String, String>::new());
            return Err(Status::with_error_details(Code::ResourceExhausted, "slow down", details));
        }
        let message = pb::Message {
            id: 901,
            account_id: request.account_id,
            conversation_id: request.conversation_id,
            r#type: draft.r#type,
            content: draft.content,
            content_attributes: draft.content_attributes,
            echo_id: draft.echo_id,
            source_id: Some(request.request_id),
            ..Default::default()
        };
        Ok(tonic::Response::new(pb::CreateMessageResponse {
            message: Some(message),
            ..Default::default()
        }))
    }

    async fn get_message(&self, _: tonic::Request<pb::GetMessageRequest>) -> Answered<pb::GetMessageResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn list_messages(&self, request: tonic::Request<pb::ListMessagesRequest>) -> Answered<pb::ListMessagesResponse> {
        let request = request.into_inner();
        // Above the 4 MiB that gRPC clients accept by default.
        let message = pb::Message {
            id: request.after.unwrap_or_default(),
            content: Some("x".repeat(5_000_000)),
            ..Default::default()
        };
        Ok(tonic::Response::new(pb::ListMessagesResponse {
            messages: vec![message],
            ..Default::default()
        }))
    }

    async fn retry_message(&self, _: tonic::Request<pb::RetryMessageRequest>) -> Answered<pb::RetryMessageResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn search_messages(&self, _: tonic::Request<pb::SearchMessagesRequest>) -> Answered<pb::SearchMessagesResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn update_message(&self, _: tonic::Request<pb::UpdateMessageRequest>) -> Answered<pb::UpdateMessageResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn delete_message(&self, _: tonic::Request<pb::DeleteMessageRequest>) -> Answered<pb::DeleteMessageResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn batch_create_messages(&self, _: tonic::Request<pb::BatchCreateMessagesRequest>) -> Answered<pb::BatchCreateMessagesResponse> {
        Err(Status::internal("not asked for"))
    }

    async fn send_messages(&self, _: tonic::Request<tonic::Streaming<pb::SendMessagesRequest>>) -> Answered<Self::SendMessagesStream> {
        Err(Status::internal("not asked for"))
    }
}

const MESSAGES: &str = "/api/v1/accounts/3/conversations/118/messages";

fn echo() -> Router {
    test_router(Routes::new(MessagesServiceServer::new(Echo)))
}

#[tokio::test]
async fn message_round_trip() {
    let body = r#"{"content": "hi", "message_type": "incoming", "echo_id": "tmp-1", "content_attributes": {"items": [{"value": 3}]}}"#;
    let (status, message) = send_to(echo(), Method::POST, MESSAGES, body).await;
    assert_eq!(status, StatusCode::OK, "{message}");
    assert_eq!(
        message,
        json!({
            "id": 901, "content": "hi", "inbox_id": 0, "conversation_id": 118, "message_type": 0, "content_type": "text",
            "status": "sent", "content_attributes": {"items": [{"value": 3}]}, "created_at": 0, "private": false,
            "source_id": "0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1", "echo_id": "tmp-1",
        })
    );
}

#[tokio::test]
async fn status_details_are_mapped() {
    assert_eq!(
        send_to(echo(), Method::POST, MESSAGES, r#"{"content": "flood"}"#).await,
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "error": "Validation failed: Too many messages" })
        )
    );
}

#[tokio::test]
async fn accepts_large_responses() {
    let (status, list) = send_to(echo(), Method::GET, &format!("{MESSAGES}?after=7"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["payload"][0]["id"], 7);
}

/// The description that the gateway serves.
async fn description() -> Json {
    let (status, document) = send(Method::GET, "/openapi.json", "").await;
    assert_eq!(status, StatusCode::OK);
    document
}

#[tokio::test]
async fn operation_ids_are_unique() {
    let document = description().await;
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<_> = paths.values().flat_map(|path| path.as_object().unwrap().values()).collect();
    let ids: std::collections::BTreeSet<_> = operations.iter().map(|one| one["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
    assert_eq!(
        paths["/api/v1/accounts/{account_id}/inboxes/{inbox_id}"]["put"]["operationId"],
        "updateInboxByPut"
    );
}

/// Code generators drop case and punctuation, so names must differ in their letters and digits.
#[tokio::test]
async fn generated_names_do_not_collide() {
    fn folded(name: &str) -> String {
        name.chars()
            .filter(|letter| letter.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    }
    fn assert_distinct<'a>(names: impl IntoIterator<Item = &'a str>, location: &str) {
        let mut seen = HashMap::new();
        for name in names {
            let other = seen.insert(folded(name), name);
            assert!(
                other.is_none_or(|other| other == name && !location.ends_with("enum")),
                "{name} and {other:?} in {location}"
            );
        }
    }
    fn walk(json: &Json, location: &str) {
        match json {
            Json::Object(map) => {
                if let Some(Json::Array(values)) = map.get("enum") {
                    assert_distinct(values.iter().filter_map(Json::as_str), &format!("{location}/enum"));
                }
                if let Some(Json::Object(properties)) = map.get("properties") {
                    assert_distinct(properties.keys().map(String::as_str), &format!("{location}/properties"));
                }
                if let Some(Json::Array(parameters)) = map.get("parameters") {
                    let names = parameters.iter().filter_map(|parameter| parameter["name"].as_str());
                    assert_distinct(names, &format!("{location}/parameters"));
                }
                map.iter().for_each(|(key, inner)| walk(inner, &format!("{location}/{key}")));
            }
            Json::Array(items) => items.iter().for_each(|inner| walk(inner, location)),
            _ => {}
        }
    }
    let document = description().await;
    walk(&document, "");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_distinct(schemas.keys().map(String::as_str), "schemas");
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    assert_distinct(operations.map(|one| one["operationId"].as_str().unwrap()), "operations");
    assert_distinct(
        document["tags"].as_array().unwrap().iter().filter_map(|tag| tag["name"].as_str()),
        "tags",
    );
}

/// A dangling reference would accept any value.
#[tokio::test]
async fn every_reference_resolves() {
    fn references<'a>(json: &'a Json, found: &mut Vec<&'a str>) {
        match json {
            Json::Object(map) => {
                found.extend(map.get("$ref").and_then(Json::as_str));
                map.values().for_each(|inner| references(inner, found));
            }
            Json::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }
    let document = description().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.contains(&"#/components/schemas/Conversation"));
    for reference in found {
        let target = document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some_and(Json::is_object), "{reference}");
    }
}

#[tokio::test]
async fn docs_page_has_a_strict_csp() {
    for path in ["/", "/docs/api"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = test_router(Routes::default()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn former_docs_path_redirects() {
    let request = Request::get("/docs").body(Body::empty()).unwrap();
    let response = test_router(Routes::default()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(response.headers()["location"], "/docs/api");
}
