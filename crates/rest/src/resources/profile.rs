//! The caller's own user, and the changes it can make to itself.

use axum::response::Response;
use parley_proto as pb;
use parley_proto::Availability;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::{ApiError, field_error::FieldError},
    json::{
        self,
        agent::Profile,
        values::{Id, Name},
    },
    openapi::{Caller, RouteDescription, describe, schema::Parameters as _},
    params::{Params, attributes::Attributes, declaration::params, fields::ParamReader},
};

params! {
    struct ProfileParams { name: String, display_name: Option<String>, message_signature: Option<String>, ui_settings: Attributes }
    struct AvailabilityParams { availability: Name<Availability> }
    struct AutoOfflineParams { auto_offline: bool }
}

/// Parameters that front ends send with their forms. Rejected if they would change anything.
const REFUSED: [&str; 2] = ["email", "password"];
/// The attributes that users can change per account.
const IN_ACCOUNT: [&str; 3] = ["account_id", "availability", "auto_offline"];

pub fn routes() -> ApiRouter {
    let mine = |operation, rpc| describe(operation, rpc).caller(Caller::User);
    ApiRouter::new("Profile")
        .get(
            "/api/v1/profile",
            show,
            mine("showProfile", "AccountsService.GetProfile").returns::<Profile>(),
        )
        .post(
            "/api/v1/profile/rotate_pubsub_token",
            rotate,
            mine("rotatePubsubToken", "PubsubService.RotatePubsubToken").returns::<Profile>(),
        )
        .update(
            "/api/v1/profile",
            update,
            mine("updateProfile", "AccountsService.UpdateUser")
                .root("profile")
                .params::<ProfileParams>()
                .body::<String>("email")
                .body::<String>("password")
                .body::<String>("current_password")
                .body::<String>("password_confirmation")
                .returns::<Profile>(),
        )
        .post(
            "/api/v1/profile/availability",
            set_availability,
            in_account(mine("setAvailability", "AccountsService.UpdateOwnAvailability"))
                .params::<AvailabilityParams>()
                .required(&["availability"]),
        )
        .post(
            "/api/v1/profile/auto_offline",
            set_auto_offline,
            in_account(mine("setAutoOffline", "AccountsService.UpdateOwnAvailability")).params::<AutoOfflineParams>(),
        )
        .update(
            "/api/v1/profile/set_active_account",
            set_active_account,
            in_account(mine("setActiveAccount", "AccountsService.SetActiveAccount")),
        )
}

/// Describes what the routes of a single account have in common. The body contains the account id.
fn in_account(description: RouteDescription) -> RouteDescription {
    description.root("profile").required_body::<Id>("account_id").returns::<Profile>()
}

async fn profile(call: &Call) -> Result<pb::GetProfileResponse, tonic::Status> {
    let found = call.send(pb::GetProfileRequest {}).await?;
    Ok(found)
}

fn profile_response(call: &Call, profile: pb::GetProfileResponse) -> Response {
    let token = call.token().unwrap_or_default().to_owned();
    json::ok(&Profile::new(profile, token))
}

async fn show(call: Call) -> ApiResult {
    let profile = profile(&call).await?;
    Ok(profile_response(&call, profile))
}

async fn rotate(call: Call) -> ApiResult {
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
    Ok(profile_response(&call, profile))
}

/// Rejects changes that users cannot make. The current value is accepted.
fn refuse(fields: &mut ParamReader<'_>, profile: &pb::GetProfileResponse) {
    let now = profile.user.as_ref().map(|user| user.email.as_str()).unwrap_or_default();
    let email = fields.text("email").filter(|email| !email.trim().is_empty());
    if email.is_some_and(|email| email.trim().to_lowercase() != now) {
        fields.add_error(FieldError::new("email", "is changed by the operator alone"));
    }
    if fields.has_value("password") {
        fields.add_error(FieldError::new("password", "cannot be changed here"));
    }
}

async fn update(call: Call, params: Params) -> ApiResult {
    // Authenticate the caller before validating the parameters.
    let before = profile(&call).await?;
    let mut fields = params.root("profile", &[ProfileParams::NAMES, &REFUSED].concat())?;
    refuse(&mut fields, &before);
    let sent: ProfileParams = fields.parse()?;
    let user = pb::User {
        id: before.user.as_ref().map(|user| user.id).unwrap_or_default(),
        name: sent.name.unwrap_or_default(),
        display_name: sent.display_name,
        message_signature: sent.message_signature,
        ui_settings: sent.ui_settings,
        ..Default::default()
    };
    let paths = fields.sent(ProfileParams::NAMES);
    if paths.is_empty() {
        return Ok(profile_response(&call, before));
    }
    let request = pb::UpdateUserRequest {
        request_id: call.request_id(),
        user: Some(user),
        update_mask: Some(FieldMask { paths }),
    };
    call.send(request).await?;
    show(call).await
}

/// Parses the account id in the body. Also returns the fields of the body.
fn account_of(params: &Params) -> Result<(ParamReader<'_>, i64), ApiError> {
    let mut fields = params.root("profile", &IN_ACCOUNT)?;
    if !fields.has_value("account_id") {
        fields.add_error(FieldError::new("account_id", "can't be blank"));
    }
    let account_id = fields.path_id("account_id");
    Ok((fields, account_id))
}

async fn set_availability(call: Call, params: Params) -> ApiResult {
    profile(&call).await?;
    let (mut fields, account_id) = account_of(&params)?;
    let sent = fields.read::<AvailabilityParams>();
    if !fields.has_value("availability") {
        fields.add_error(FieldError::new("availability", "can't be blank"));
    }
    fields.finish()?;
    let request = pb::UpdateOwnAvailabilityRequest {
        account_id,
        request_id: call.request_id(),
        availability: sent.availability.unwrap_or_default().into(),
        auto_offline: None,
    };
    call.send(request).await?;
    show(call).await
}

async fn set_auto_offline(call: Call, params: Params) -> ApiResult {
    profile(&call).await?;
    let (mut fields, account_id) = account_of(&params)?;
    let sent: AutoOfflineParams = fields.parse()?;
    let request = pb::UpdateOwnAvailabilityRequest {
        account_id,
        request_id: call.request_id(),
        availability: pb::Availability::Unspecified.into(),
        // An absent value counts as false, as in Chatwoot.
        auto_offline: Some(sent.auto_offline.unwrap_or_default()),
    };
    call.send(request).await?;
    show(call).await
}

async fn set_active_account(call: Call, params: Params) -> ApiResult {
    profile(&call).await?;
    let (fields, account_id) = account_of(&params)?;
    fields.finish()?;
    let request = pb::SetActiveAccountRequest {
        account_id,
        request_id: call.request_id(),
    };
    call.send(request).await?;
    show(call).await
}
