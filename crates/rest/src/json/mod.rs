//! The JSON representation of each resource, in one file per noun, with exactly the keys of the API contract.
//!
//! Each type defines both the content of responses (through `Serialize`) and the schema in the `OpenAPI` document (through `JsonSchema`).
//! The doc comment of a type is published as the description of its schema. Descriptions of fields that many schemas share are in
//! `openapi/texts/response_fields.toml`.
//!
//! A key that may be absent is an `Option` with `skip_serializing_if`. `#[schemars(required)]` on such a key means that its value is never
//! null if the key is present.

pub mod account;
pub mod agent;
pub mod agent_bot;
pub mod attachment;
pub mod client;
pub mod contact;
pub mod conversation;
pub mod inbox;
pub mod json_type;
pub mod message;
pub mod platform;
pub mod push;
pub mod record;
pub mod search;
mod sender;
pub mod team;
pub mod truncated;
mod unread;
pub mod values;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde::Serialize;

/// Encodes a value as JSON.
#[allow(clippy::expect_used)] // It fails only for a map whose keys are not strings, and no response has one.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the keys of all maps are strings")
}

/// Returns a response with this status and a JSON body.
pub fn respond<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    let mut response = of(Body::from(encode(body)));
    *response.status_mut() = status;
    response
}

/// Returns a 200 response whose body is already encoded JSON.
pub fn of(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// Returns a 200 response with a JSON body.
pub fn ok<T: Serialize + ?Sized>(body: &T) -> Response {
    respond(StatusCode::OK, body)
}

/// Returns a 204 response.
pub fn no_content() -> Response {
    let mut response = empty();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Returns a 200 response with an empty body.
pub fn empty() -> Response {
    Response::new(Body::empty())
}

#[cfg(test)]
pub mod test_json {
    //! Functions that the tests in this folder share.

    use serde::Serialize;
    use serde_json::{Map, Value as Json};

    /// Returns a value as JSON.
    pub fn to_json(value: &impl Serialize) -> Json {
        serde_json::to_value(value).unwrap()
    }

    /// Returns the keys of a JSON object.
    pub fn keys(json: &Json) -> Vec<&str> {
        json.as_object().map(Map::keys).into_iter().flatten().map(String::as_str).collect()
    }
}
