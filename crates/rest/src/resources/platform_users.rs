//! The platform API: users, their tokens and login links.

use parley_proto as pb;
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde::Serialize;
use tonic::Code;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::{ApiError, field_error::FieldError},
    json::{self, json_type::json_type, platform::PlatformUser, values::one_key},
    params::{Params, attributes::Attributes, declaration::params, fields::ParamReader},
    resources::platform::{PLATFORM, filled_names, operator, platform_route, refused},
};

params! {
    struct UserParams {
        #[allow(dead_code)] // only checked
        password: String as () = check_password,
        name: String, email: String, display_name: Option<String>, custom_attributes: Attributes,
    }
    struct UserChange {
        #[allow(dead_code)] // only checked
        password: String as () = check_password,
        name: String as Option<String> = ParamReader::filled_text,
        email: String as Option<String> = ParamReader::filled_text,
        display_name: Option<String> as Option<String> = ParamReader::filled_text,
        custom_attributes: Attributes,
    }
}

pub(crate) fn routes() -> ApiRouter {
    let users = format!("{PLATFORM}/users");
    let user = format!("{users}/{{user_id}}");
    ApiRouter::new("Platform side")
        .post(
            &users,
            create_user,
            platform_route("createPlatformUser", "AccountsService.CreateUser")
                .params::<UserParams>()
                .returns::<PlatformUser>(),
        )
        .get(
            &user,
            show_user,
            platform_route("showPlatformUser", "AccountsService.GetUser").returns::<PlatformUser>(),
        )
        .update(
            &user,
            update_user,
            platform_route("updatePlatformUser", "AccountsService.UpdateUser")
                .params::<UserChange>()
                .returns::<PlatformUser>(),
        )
        .delete(
            &user,
            delete_user,
            platform_route("deletePlatformUser", "AccountsService.DeleteUser"),
        )
        .post(
            &format!("{user}/token"),
            make_token,
            platform_route("createPlatformUserToken", "AccountsService.CreateToken").returns::<CreatedToken>(),
        )
        .get(
            &format!("{user}/login"),
            make_login,
            platform_route("createPlatformUserLogin", "LoginsService.CreateLoginLink").returns::<LoginLink<String>>(),
        )
}

async fn delete_user(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let request = pb::DeleteUserRequest {
        request_id: call.request_id(),
        user_id: params.fields().path_id("user_id"),
    };
    call.send(request).await.map_err(refused)?;
    Ok(json::empty())
}

/// Responds with a user. `secret` is its token, if one was just created.
async fn user(call: &Call, user: pb::User, secret: Option<String>) -> ApiResult {
    let memberships = call_memberships(call, user.id).await?;
    Ok(json::ok(&PlatformUser::new(user, memberships, secret)))
}

async fn call_memberships(call: &Call, user_id: i64) -> Result<Vec<pb::Membership>, ApiError> {
    let request = pb::GetUserRequest { user_id };
    let found = call.send(request).await.map_err(refused)?;
    Ok(found.memberships)
}

/// Validates a password by Chatwoot's rules. Parley has no password login, so it is not stored.
fn check_password(fields: &mut ParamReader<'_>, key: &str) {
    let Some(password) = fields.text(key) else { return };
    let length = password.chars().count();
    if !(6..=128).contains(&length) {
        fields.add_error(FieldError::new(key, "must have between 6 and 128 characters"));
    }
    for (what, found) in [
        ("1 uppercase character (A-Z)", password.chars().any(char::is_uppercase)),
        ("1 lowercase character (a-z)", password.chars().any(char::is_lowercase)),
        ("1 number (0-9)", password.chars().any(|letter| letter.is_ascii_digit())),
        ("1 special character", password.chars().any(|letter| !letter.is_alphanumeric())),
    ] {
        if !found {
            fields.add_error(FieldError::new(key, &format!("must contain at least {what}")));
        }
    }
}

async fn create_user(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let sent: UserParams = params.fields().parse()?;
    let request = pb::CreateUserRequest {
        request_id: call.request_id(),
        name: sent.name.unwrap_or_default(),
        email: sent.email.unwrap_or_default(),
        display_name: sent.display_name,
        custom_attributes: sent.custom_attributes,
    };
    let made = match call.send(request).await {
        Ok(made) => made.user.unwrap_or_default(),
        Err(status) => {
            // If the address is taken, respond with the existing user, unchanged.
            let existing = ApiError::existing_id(&status).filter(|_| status.code() == Code::AlreadyExists);
            let user_id = existing.ok_or_else(|| refused(status))?;
            let found = call.send(pb::GetUserRequest { user_id }).await;
            return user(&call, found.map_err(refused)?.user.unwrap_or_default(), None).await;
        }
    };
    let secret = create_user_token(&call, made.id).await?;
    user(&call, made, Some(secret)).await
}

async fn create_user_token(call: &Call, user_id: i64) -> Result<String, ApiError> {
    let request = pb::CreateTokenRequest {
        kind: pb::TokenKind::User.into(),
        name: "platform".to_owned(),
        user_id: Some(user_id),
        ..Default::default()
    };
    Ok(call.send(request).await.map_err(refused)?.secret)
}

async fn read_user(call: &Call, params: &Params) -> Result<pb::User, ApiError> {
    let request = pb::GetUserRequest {
        user_id: params.fields().path_id("user_id"),
    };
    let found = call.send(request).await.map_err(refused)?;
    Ok(found.user.unwrap_or_default())
}

async fn show_user(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let found = read_user(&call, &params).await?;
    user(&call, found, None).await
}

async fn put_user(call: &Call, request_id: String, user: pb::User, paths: Vec<String>) -> Result<pb::User, ApiError> {
    let request = pb::UpdateUserRequest {
        request_id,
        user: Some(user),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.send(request).await.map_err(refused)?;
    Ok(changed.user.unwrap_or_default())
}

async fn update_user(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let mut fields = params.fields();
    let sent = fields.read::<UserChange>();
    let found = read_user(&call, &params).await?;
    let mut paths = filled_names(&fields, &["name", "email", "display_name"]);
    // Contains only what was sent and does not depend on the stored user: a retry with the same idempotency key has to be the same gRPC
    // request.
    let mut changed = pb::User {
        id: found.id,
        name: sent.name.unwrap_or_default(),
        email: sent.email.unwrap_or_default(),
        display_name: sent.display_name,
        ..Default::default()
    };
    if let Some(added) = sent.custom_attributes {
        // Merge key by key: stored keys that were not sent are unchanged.
        paths.extend(added.fields.keys().map(|key| format!("custom_attributes.{key}")));
        changed.custom_attributes = Some(added);
    }
    fields.finish()?;
    let changed = if paths.is_empty() {
        found
    } else {
        put_user(&call, call.request_id(), changed, paths).await?
    };
    user(&call, changed, None).await
}

// A token that was just created.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct CreatedToken {
    access_token: String,
    expiry: Option<i64>,
    #[schemars(with = "Attributes")]
    user: TokenOwner,
}

json_type! {
    struct TokenOwner(user: pb::User) {
        id: i64 = user.id,
        name: String = user.name,
        display_name: Option<String> = user.display_name,
        email: String = user.email,
        pubsub_token: () = (),
    }
}

one_key!(LoginLink { url });

async fn make_token(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let found = read_user(&call, &params).await?;
    let access_token = create_user_token(&call, found.id).await?;
    Ok(json::ok(&CreatedToken {
        access_token,
        expiry: None,
        user: found.into(),
    }))
}

async fn make_login(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let request = pb::CreateLoginLinkRequest {
        request_id: String::new(),
        user_id: params.fields().path_id("user_id"),
    };
    let made = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&LoginLink { url: made.url }))
}
