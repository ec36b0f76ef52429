//! The caller's own user.

use axum::response::Response;

use super::{
    Answer,
    call::Call,
    door::Door,
    json,
    openapi::{Caller, about},
};
use crate::pb;

/// The routes of this file.
pub fn routes() -> Door {
    let mine = |operation, rpc| about(operation, rpc).caller(Caller::User);
    Door::new("Profile")
        .get(
            "/api/v1/profile",
            show,
            mine("showProfile", "AccountsService.GetProfile").answers(json::agent::profile_schema()),
        )
        .post(
            "/api/v1/profile/rotate_pubsub_token",
            rotate,
            mine("rotatePubsubToken", "PubsubService.RotatePubsubToken").answers(json::agent::profile_schema()),
        )
}

async fn profile(call: &Call) -> Result<pb::GetProfileResponse, tonic::Status> {
    let found = call.accounts().get_profile(call.request(pb::GetProfileRequest {})).await?;
    Ok(found.into_inner())
}

fn shown(call: &Call, profile: &pb::GetProfileResponse) -> Response {
    let token = call.token().unwrap_or_default();
    json::ok(&json::agent::profile(profile, token))
}

async fn show(call: Call) -> Answer {
    let profile = profile(&call).await?;
    Ok(shown(&call, &profile))
}

async fn rotate(call: Call) -> Answer {
    let mut profile = profile(&call).await?;
    let request = pb::RotatePubsubTokenRequest {
        key: Some(pb::PubsubKey {
            pubsub_token: std::mem::take(&mut profile.pubsub_token),
            account_id: profile.memberships.first().map(|membership| membership.account_id),
            user_id: profile.user.as_ref().map(|user| user.id),
        }),
        request_id: call.request_id(),
    };
    let rotated = call.pubsub().rotate_pubsub_token(call.request(request)).await?;
    profile.pubsub_token = rotated.into_inner().pubsub_token;
    Ok(shown(&call, &profile))
}
