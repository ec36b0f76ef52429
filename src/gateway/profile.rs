//! The caller's own user.

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
    Door::new("Profile").get(
        "/api/v1/profile",
        show,
        about("showProfile", "Shows the caller's own user", "AccountsService.GetProfile")
            .caller(Caller::User)
            .answers(json::agent::profile_schema()),
    )
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
