//! The information about the installation that front ends request before anyone has signed in.

use axum::response::Response;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    api_router::ApiRouter,
    json,
    openapi::{Caller, describe},
};

/// The Chatwoot release whose API is implemented, according to docs/json-api-coverage.md. Front ends compare it with their minimum version.
const CHATWOOT_VERSION: &str = "4.18.0";

pub fn routes() -> ApiRouter {
    ApiRouter::new("Description").get(
        "/api",
        show,
        describe("showInstallation", "").caller(Caller::Anyone).returns::<Installation>(),
    )
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Installation {
    version: &'static str,
    timestamp: String,
}

async fn show() -> Response {
    let timestamp = Utc::now().format("%Y-%m-%d %H:%M:%S").to_string();
    json::ok(&Installation {
        version: CHATWOOT_VERSION,
        timestamp,
    })
}
