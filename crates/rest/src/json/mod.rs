//! The JSON of each resource, one file per noun, with exactly the keys of the API's contract.
//!
//! Each type is both: what a response contains, by `Serialize`, and its schema in the document, by `JsonSchema`. Its documentation is
//! published as the description of the schema; texts of fields that many schemas have are in `openapi/texts/response_fields.toml`.
//!
//! A key that may be absent is an `Option` with `skip_serializing_if`. `#[schemars(required)]` says that it is not null if it is present.

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

/// A response with a JSON body.
pub fn respond<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    let mut response = of(Body::from(encode(body)));
    *response.status_mut() = status;
    response
}

/// A 200 response whose body is already encoded JSON.
pub fn of(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// A 200 response with a JSON body.
pub fn ok<T: Serialize + ?Sized>(body: &T) -> Response {
    respond(StatusCode::OK, body)
}

/// A 204 response.
pub fn no_content() -> Response {
    let mut response = empty();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A 200 response with an empty body.
pub fn empty() -> Response {
    Response::new(Body::empty())
}

#[cfg(test)]
pub mod test_json {
    //! What the tests of this folder share.

    use serde::Serialize;
    use serde_json::{Map, Value as Json};

    /// A value as JSON.
    pub fn to_json(value: &impl Serialize) -> Json {
        serde_json::to_value(value).unwrap()
    }

    /// The keys of a JSON object.
    pub fn keys(json: &Json) -> Vec<&str> {
        json.as_object().map(Map::keys).into_iter().flatten().map(String::as_str).collect()
    }
}
