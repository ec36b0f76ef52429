//! The JSON of each resource, one file per noun, with exactly the keys of the API's contract.

pub mod account;
pub mod agent;
pub mod agent_bot;
pub mod client;
pub mod contact;
pub mod conversation;
pub mod inbox;
pub mod message;
pub mod platform;
pub mod push;
pub mod record;
pub mod search;
pub mod team;
pub mod truncated;
mod unread;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde_json::Value as Json;

/// A response with a JSON body.
pub fn respond(status: StatusCode, body: &Json) -> Response {
    let mut response = of(Body::from(body.to_string()));
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
pub fn ok(body: &Json) -> Response {
    respond(StatusCode::OK, body)
}

/// A 204 response.
pub fn nothing() -> Response {
    let mut response = empty();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A 200 response with an empty body.
pub fn empty() -> Response {
    Response::new(Body::empty())
}
