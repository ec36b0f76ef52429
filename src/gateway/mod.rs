//! The JSON door: what OneHash Chat and Chatwoot document for agents and back offices, as a client of Parley's own services.
//!
//! JSON becomes a Protobuf request, the generated client carries it through the same layers as a call from outside, and the answer becomes
//! JSON. So who may do what, what is valid, and what is stored are decided elsewhere; here it is only spelled.

mod attributes;
mod call;
mod clock;
mod contact_relations;
mod contacts;
mod conversation_changes;
mod conversation_list;
mod conversations;
mod draft;
mod error;
mod exact;
mod fields;
mod inboxes;
mod json;
mod messages;
mod nested;
mod params;
mod profile;
mod sentence;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::Response,
    routing::{MethodRouter, any},
};
use tonic::service::Routes;

use error::Failure;

/// The settings of the door.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach this door, such as `https://chat.example.org`. Empty: nowhere in particular.
    pub base_url: String,
    /// The largest body that is read, in bytes; a larger one is refused with 413.
    pub max_body_bytes: usize,
}

/// What a handler answers.
type Answer = Result<Response, Failure>;

/// Paths below which the product has more than this version: without them, `active` would be taken for a contact's id.
const NOT_HERE: [&str; 6] = [
    "contacts/active",
    "contacts/filter",
    "contacts/import",
    "contacts/export",
    "conversations/search",
    "conversations/filter",
];

/// The door over services: `routes` with their layers, as the gRPC listener serves them too.
pub fn router(routes: Routes, config: Config) -> Router {
    // Where clients reach the door matters once it hands out addresses of files.
    let Config {
        base_url: _,
        max_body_bytes,
    } = config;
    let mut router = Router::new()
        .merge(profile::routes())
        .merge(inboxes::routes())
        .merge(contacts::routes())
        .merge(contact_relations::routes())
        .merge(conversations::routes())
        .merge(conversation_list::routes())
        .merge(conversation_changes::routes())
        .merge(messages::routes());
    for path in NOT_HERE {
        router = router.path(&format!("/api/v1/accounts/{{account_id}}/{path}"), any(unknown_route));
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .with_state(routes.prepare())
}

async fn unknown_route() -> Failure {
    Failure::unknown_route()
}

/// Routes that tolerate the suffix `.json`.
trait Path {
    /// Adds a path with and without the suffix; an id at its end loses the suffix when it is read.
    #[must_use]
    fn path(self, path: &str, methods: MethodRouter<Routes>) -> Self;
}

impl Path for Router<Routes> {
    fn path(self, path: &str, methods: MethodRouter<Routes>) -> Self {
        if path.ends_with('}') {
            self.route(path, methods)
        } else {
            self.route(path, methods.clone()).route(&format!("{path}.json"), methods)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Method, Request, StatusCode},
    };
    use serde_json::{Value as Json, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn send(method: Method, path: &str, body: &str) -> (StatusCode, Json) {
        let door = router(
            Routes::default(),
            Config {
                base_url: String::new(),
                max_body_bytes: 1000,
            },
        );
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = door.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn what_is_no_route_is_404() {
        let not_found = (StatusCode::NOT_FOUND, json!({ "status": 404, "error": "Not Found" }));
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/api/v1/accounts/1/nothing"),
            (Method::GET, "/api/v1/accounts/1/contacts/active"),
            (Method::POST, "/api/v1/accounts/1/contacts/filter.json"),
            (Method::DELETE, "/api/v1/profile"),
            (Method::GET, "/api/v1/accounts/1/conversations/2/messages/3"),
        ] {
            assert_eq!(send(method, path, "").await, not_found, "{path}");
        }
    }

    #[tokio::test]
    async fn bodies_are_read_before_anything_else() {
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

    /// The services are not there, so a routed request is a fault of this process and no 404.
    #[tokio::test]
    async fn suffixes_and_put_are_tolerated() {
        for (method, path) in [
            (Method::GET, "/api/v1/profile.json"),
            (Method::GET, "/api/v1/accounts/1/contacts/7.json"),
            (Method::PUT, "/api/v1/accounts/1/inboxes/7"),
            (Method::PUT, "/api/v1/accounts/1/conversations/7.json"),
            (Method::GET, "/api/v1/accounts/1/conversations/meta.json"),
        ] {
            assert_eq!(send(method, path, "").await.0, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        }
    }
}
