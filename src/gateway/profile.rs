//! The caller's own user.

use axum::{Router, routing::get};
use tonic::service::Routes;

use super::{Answer, Path as _, call::Call, json};
use crate::pb;

/// The routes of this file.
pub fn routes() -> Router<Routes> {
    Router::new().path("/api/v1/profile", get(show))
}

async fn show(call: Call) -> Answer {
    let profile = call
        .accounts()
        .get_profile(call.request(pb::GetProfileRequest {}))
        .await?
        .into_inner();
    let token = call.token().and_then(|token| token.to_str().ok()).unwrap_or_default();
    Ok(json::ok(&json::agent::profile(&profile, token)))
}
