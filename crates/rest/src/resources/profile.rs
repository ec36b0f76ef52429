//! The caller's own user, and the changes it can make to itself.

use axum::response::Response;
use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::{Failure, sentence::Complaint},
    json,
    openapi::{
        About, Caller, about,
        schema::{attributes, flag, id, names, text},
    },
    params::{Params, fields::Fields},
    resources::agents::AVAILABILITIES,
};

/// The attributes that users can change.
const ATTRIBUTES: [&str; 4] = ["name", "display_name", "message_signature", "ui_settings"];
/// Parameters that front ends send with their forms. Rejected if they would change anything.
const REFUSED: [&str; 2] = ["email", "password"];
/// The attributes that users can change per account.
const IN_ACCOUNT: [&str; 3] = ["account_id", "availability", "auto_offline"];

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
        .update(
            "/api/v1/profile",
            update,
            mine("updateProfile", "AccountsService.UpdateUser")
                .root("profile")
                .body("name", text())
                .bodies(&["display_name", "message_signature"], &text().or_null())
                .body("ui_settings", attributes())
                .bodies(&["email", "password", "current_password", "password_confirmation"], &text())
                .answers(json::agent::profile_schema()),
        )
        .post(
            "/api/v1/profile/availability",
            set_availability,
            in_account(mine("setAvailability", "AccountsService.UpdateOwnAvailability")).needs("availability", names(&AVAILABILITIES)),
        )
        .post(
            "/api/v1/profile/auto_offline",
            set_auto_offline,
            in_account(mine("setAutoOffline", "AccountsService.UpdateOwnAvailability")).body("auto_offline", flag()),
        )
        .update(
            "/api/v1/profile/set_active_account",
            set_active_account,
            in_account(mine("setActiveAccount", "AccountsService.SetActiveAccount")),
        )
}

/// Describes what the routes of a single account have in common. The body contains the account id.
fn in_account(about: About) -> About {
    about
        .root("profile")
        .needs("account_id", id())
        .answers(json::agent::profile_schema())
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

/// Rejects changes that users cannot make. The current value is accepted.
fn refuse(fields: &mut Fields<'_>, profile: &pb::GetProfileResponse) {
    let now = profile.user.as_ref().map(|user| user.email.as_str()).unwrap_or_default();
    let email = fields.text("email").filter(|email| !email.trim().is_empty());
    if email.is_some_and(|email| email.trim().to_lowercase() != now) {
        fields.complain(Complaint::new("email", "is changed by the operator alone"));
    }
    if fields.filled("password") {
        fields.complain(Complaint::new("password", "cannot be changed here"));
    }
}

async fn update(call: Call, params: Params) -> Answer {
    // Authenticate the caller before validating the parameters.
    let before = profile(&call).await?;
    let mut fields = params.root("profile", &[&ATTRIBUTES[..], &REFUSED[..]].concat())?;
    refuse(&mut fields, &before);
    let user = pb::User {
        id: before.user.as_ref().map(|user| user.id).unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        display_name: fields.text("display_name"),
        message_signature: fields.text("message_signature"),
        ui_settings: fields.object("ui_settings"),
        ..Default::default()
    };
    fields.verdict()?;
    let paths = fields.sent(&ATTRIBUTES);
    if paths.is_empty() {
        return Ok(shown(&call, &before));
    }
    let request = pb::UpdateUserRequest {
        request_id: call.request_id(),
        user: Some(user),
        update_mask: Some(FieldMask { paths }),
    };
    call.accounts().update_user(call.request(request)).await?;
    show(call).await
}

/// Parses the account id in the body. Also returns the fields of the body.
fn account_of(params: &Params) -> Result<(Fields<'_>, i64), Failure> {
    let mut fields = params.root("profile", &IN_ACCOUNT)?;
    if !fields.filled("account_id") {
        fields.complain(Complaint::new("account_id", "can't be blank"));
    }
    let account_id = fields.path_id("account_id");
    Ok((fields, account_id))
}

async fn set_availability(call: Call, params: Params) -> Answer {
    profile(&call).await?;
    let (mut fields, account_id) = account_of(&params)?;
    let availability = fields.choice("availability", &AVAILABILITIES);
    if !fields.filled("availability") {
        fields.complain(Complaint::new("availability", "can't be blank"));
    }
    fields.verdict()?;
    let request = pb::UpdateOwnAvailabilityRequest {
        account_id,
        request_id: call.request_id(),
        availability: availability.unwrap_or_default().into(),
        auto_offline: None,
    };
    call.accounts().update_own_availability(call.request(request)).await?;
    show(call).await
}

async fn set_auto_offline(call: Call, params: Params) -> Answer {
    profile(&call).await?;
    let (fields, account_id) = account_of(&params)?;
    fields.verdict()?;
    let request = pb::UpdateOwnAvailabilityRequest {
        account_id,
        request_id: call.request_id(),
        availability: pb::Availability::Unspecified.into(),
        // An absent value counts as false, as in Chatwoot.
        auto_offline: Some(fields.flag("auto_offline").unwrap_or_default()),
    };
    call.accounts().update_own_availability(call.request(request)).await?;
    show(call).await
}

async fn set_active_account(call: Call, params: Params) -> Answer {
    profile(&call).await?;
    let (fields, account_id) = account_of(&params)?;
    fields.verdict()?;
    let request = pb::SetActiveAccountRequest {
        account_id,
        request_id: call.request_id(),
    };
    call.accounts().set_active_account(call.request(request)).await?;
    show(call).await
}
