//! The information about the installation that front ends request before anyone has signed in.

use axum::response::Response;
use chrono::Utc;
use serde_json::json;

use crate::{
    door::Door,
    json,
    openapi::{
        Caller, about,
        schema::{object, text},
    },
};

/// The Chatwoot release whose API is implemented, according to docs/json-api-coverage.md. Front ends compare it with their minimum version.
const CHATWOOT_VERSION: &str = "4.18.0";

pub fn routes() -> Door {
    Door::new("Description").get(
        "/api",
        show,
        about("showInstallation", "")
            .caller(Caller::Anyone)
            .answers(object().keys(&["version", "timestamp"], &text())),
    )
}

async fn show() -> Response {
    let timestamp = Utc::now().format("%Y-%m-%d %H:%M:%S").to_string();
    json::ok(&json!({ "version": CHATWOOT_VERSION, "timestamp": timestamp }))
}
