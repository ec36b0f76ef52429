//! The platform side: accounts, users and memberships for the operator of an installation.

use prost_types::{FieldMask, Struct, value::Kind};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Answer,
    call::Call,
    door::Door,
    error::Failure,
    fields::Fields,
    json,
    openapi::{
        About, Caller, about,
        schema::{attributes, choice, id, integer, list, object, text},
    },
    params::Params,
    platform_bots,
    sentence::Complaint,
};
use crate::pb;

/// Where the platform side lies.
pub(super) const PLATFORM: &str = "/platform/api/v1";

/// The routes of this file and of `platform_bots`.
pub fn routes() -> Door {
    let (accounts, users) = (format!("{PLATFORM}/accounts"), format!("{PLATFORM}/users"));
    let (account, user) = (format!("{accounts}/{{account_id}}"), format!("{users}/{{user_id}}"));
    let members = format!("{account}/account_users");
    let (shape, person) = (json::platform::account_schema, json::platform::user_schema);
    Door::new("Platform side")
        .post(
            &accounts,
            create_account,
            settings(told("createPlatformAccount", "Makes an account", "AccountsService.CreateAccount")).answers(shape()),
        )
        .get(
            &accounts,
            list_accounts,
            told("listPlatformAccounts", "Lists all accounts", "AccountsService.ListAccounts").answers(list(shape())),
        )
        .get(
            &account,
            show_account,
            told("showPlatformAccount", "Shows an account", "AccountsService.GetAccount").answers(shape()),
        )
        .update(
            &account,
            update_account,
            settings(told("updatePlatformAccount", "Changes an account", "AccountsService.UpdateAccount")).answers(shape()),
        )
        .delete(
            &account,
            delete_account,
            told(
                "deletePlatformAccount",
                "Deletes an account: it is nobody's at once, and emptied soon",
                "AccountsService.DeleteAccount",
            ),
        )
        .get(
            &members,
            list_members,
            told("listAccountUsers", "Lists the members of an account", "AccountsService.ListMembers")
                .answers(list(json::platform::member_schema())),
        )
        .post(
            &members,
            set_member,
            told(
                "setAccountUser",
                "Makes a user a member, or changes its role",
                "AccountsService.CreateMembership",
            )
            .needs("user_id", id())
            .needs("role", choice(&["agent", "administrator"]))
            .answers(json::platform::member_schema()),
        )
        .delete(
            &members,
            remove_member,
            told("removeAccountUser", "Ends a membership", "AccountsService.DeleteMembership").needs("user_id", id()),
        )
        .post(
            &users,
            create_user,
            profile(told(
                "createPlatformUser",
                "Makes a user, or finds the one of this e-mail",
                "AccountsService.CreateUser",
            ))
            .answers(person()),
        )
        .get(
            &user,
            show_user,
            told("showPlatformUser", "Shows a user", "AccountsService.GetUser").answers(person()),
        )
        .update(
            &user,
            update_user,
            profile(told("updatePlatformUser", "Changes a user", "AccountsService.UpdateUser")).answers(person()),
        )
        .delete(
            &user,
            delete_user,
            told(
                "deletePlatformUser",
                "Deletes a user; what it wrote stays",
                "AccountsService.DeleteUser",
            ),
        )
        .post(
            &format!("{user}/token"),
            make_token,
            told("createPlatformUserToken", "Makes a token for a user", "AccountsService.CreateToken").answers(
                object()
                    .key("access_token", text())
                    .key("expiry", integer().or_null())
                    .key("user", attributes()),
            ),
        )
        .merge(platform_bots::routes())
}

/// A route of the operator's.
pub(super) fn told(operation: &'static str, summary: &'static str, rpc: &'static str) -> About {
    about(operation, summary, rpc).caller(Caller::Platform)
}

fn settings(about: About) -> About {
    about
        .bodies(&["name", "locale"], &text())
        .body("status", choice(&["active", "suspended"]))
        .bodies(&["domain", "support_email"], &text().or_null())
        .bodies(&["features", "limits", "custom_attributes"], &attributes())
}

fn profile(about: About) -> About {
    about
        .bodies(&["name", "email", "password"], &text())
        .body("display_name", text().or_null())
        .body("custom_attributes", attributes())
}

/// What a refused call of the platform side is answered.
#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
pub(super) fn refused(status: Status) -> Failure {
    Failure::of_platform(&status)
}

/// Lets only platform tokens on: users and bots may make some of these calls, but not by this door.
pub(super) async fn operator(call: &Call) -> Result<(), Failure> {
    let request = pb::ListAgentBotsRequest {
        page_size: 1,
        ..Default::default()
    };
    call.agent_bots()
        .list_agent_bots(call.request(request))
        .await
        .map(drop)
        .map_err(refused)
}

async fn create_account(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let mut fields = params.fields();
    let request = pb::CreateAccountRequest {
        request_id: call.request_id(),
        name: fields.text("name").unwrap_or_default(),
        locale: fields.text("locale").unwrap_or_default(),
        status: fields.choice("status", &STATUSES).unwrap_or_default().into(),
        domain: fields.text("domain"),
        support_email: fields.text("support_email"),
        features: features(&mut fields),
        limits: fields.object("limits"),
        custom_attributes: fields.object("custom_attributes"),
    };
    fields.verdict()?;
    let made = call
        .accounts()
        .create_account(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&json::platform::account(&made.account.unwrap_or_default())))
}

async fn list_accounts(call: Call) -> Answer {
    operator(&call).await?;
    let mut request = pb::ListAccountsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let mut accounts = Vec::new();
    loop {
        let page = call.accounts().list_accounts(call.request(request.clone())).await;
        let page = page.map_err(refused)?.into_inner();
        accounts.extend(page.accounts.iter().map(json::platform::account));
        if page.next_page_token.is_empty() {
            return Ok(json::ok(&json!(accounts)));
        }
        request.page_token = page.next_page_token;
    }
}

async fn show_account(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let request = pb::GetAccountRequest {
        account_id: params.fields().account(),
    };
    let found = call
        .accounts()
        .get_account(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&json::platform::account(&found.account.unwrap_or_default())))
}

async fn update_account(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    change_account(&call, &params, params.fields().account()).await
}

async fn delete_account(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let request = pb::DeleteAccountRequest {
        account_id: params.fields().account(),
        request_id: call.request_id(),
    };
    call.accounts().delete_account(call.request(request)).await.map_err(refused)?;
    Ok(json::empty())
}

async fn delete_user(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let request = pb::DeleteUserRequest {
        request_id: call.request_id(),
        user_id: params.fields().path_id("user_id"),
    };
    call.accounts().delete_user(call.request(request)).await.map_err(refused)?;
    Ok(json::empty())
}

const STATUSES: [(&str, pb::AccountStatus); 2] = [("active", pb::AccountStatus::Active), ("suspended", pb::AccountStatus::Suspended)];

/// Features by name; a blank value turns one off, anything else on.
fn features(fields: &mut Fields<'_>) -> Option<Struct> {
    let mut features = fields.object("features")?;
    for value in features.fields.values_mut() {
        let off = match &value.kind {
            None | Some(Kind::NullValue(_) | Kind::BoolValue(false)) => true,
            Some(Kind::StringValue(text)) => matches!(text.trim().to_ascii_lowercase().as_str(), "" | "false" | "0" | "f" | "off"),
            Some(_) => false,
        };
        value.kind = Some(Kind::BoolValue(!off));
    }
    Some(features)
}

async fn change_account(call: &Call, params: &Params, id: i64) -> Answer {
    let mut fields = params.fields();
    let status = fields.choice("status", &STATUSES).unwrap_or_default();
    let account = pb::Account {
        id,
        name: fields.text("name").unwrap_or_default(),
        locale: fields.text("locale").unwrap_or_default(),
        status: status.into(),
        domain: fields.text("domain"),
        support_email: fields.text("support_email"),
        features: features(&mut fields),
        limits: fields.object("limits"),
        custom_attributes: fields.object("custom_attributes"),
        ..Default::default()
    };
    fields.verdict()?;
    let mut paths: Vec<String> = given(&fields, &["name", "locale", "status"]);
    paths.extend(fields.sent(&["domain", "support_email"]));
    for (name, object) in [("limits", &account.limits), ("custom_attributes", &account.custom_attributes)] {
        paths.extend(object.is_some().then(|| name.to_owned()));
    }
    // What is not named stays as it is.
    let named = account.features.iter().flat_map(|features| features.fields.keys());
    paths.extend(named.map(|name| format!("features.{name}")));
    let changed = if paths.is_empty() {
        let request = pb::GetAccountRequest { account_id: id };
        call.accounts()
            .get_account(call.request(request))
            .await
            .map_err(refused)?
            .into_inner()
            .account
    } else {
        let request = pb::UpdateAccountRequest {
            request_id: call.request_id(),
            account: Some(account),
            update_mask: Some(FieldMask { paths }),
        };
        call.accounts()
            .update_account(call.request(request))
            .await
            .map_err(refused)?
            .into_inner()
            .account
    };
    Ok(json::ok(&json::platform::account(&changed.unwrap_or_default())))
}

/// Those of these fields that were sent with something in them.
pub(super) fn given(fields: &Fields<'_>, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter(|name| fields.filled(name))
        .map(|&name| name.to_owned())
        .collect()
}

/// The whole record of a user; `secret` is its token, if one was made now.
async fn user(call: &Call, user: &pb::User, secret: Option<&str>) -> Answer {
    Ok(json::ok(&json::platform::user(
        user,
        &call_memberships(call, user.id).await?,
        secret,
    )))
}

async fn call_memberships(call: &Call, user_id: i64) -> Result<Vec<pb::Membership>, Failure> {
    let request = pb::GetUserRequest { user_id };
    let found = call.accounts().get_user(call.request(request)).await.map_err(refused)?.into_inner();
    Ok(found.memberships)
}

/// Chatwoot's rule; Parley has no log-in, so the password is kept nowhere.
fn check_password(fields: &mut Fields<'_>) {
    let Some(password) = fields.text("password") else { return };
    let length = password.chars().count();
    if !(6..=128).contains(&length) {
        fields.complain(Complaint::new("password", "must have between 6 and 128 characters"));
    }
    for (what, found) in [
        ("1 uppercase character (A-Z)", password.chars().any(char::is_uppercase)),
        ("1 lowercase character (a-z)", password.chars().any(char::is_lowercase)),
        ("1 number (0-9)", password.chars().any(|letter| letter.is_ascii_digit())),
        ("1 special character", password.chars().any(|letter| !letter.is_alphanumeric())),
    ] {
        if !found {
            fields.complain(Complaint::new("password", &format!("must contain at least {what}")));
        }
    }
}

async fn create_user(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let mut fields = params.fields();
    check_password(&mut fields);
    let request = pb::CreateUserRequest {
        request_id: call.request_id(),
        name: fields.text("name").unwrap_or_default(),
        email: fields.text("email").unwrap_or_default(),
        display_name: fields.text("display_name"),
    };
    let custom_attributes = fields.object("custom_attributes");
    fields.verdict()?;
    let made = match call.accounts().create_user(call.request(request)).await {
        Ok(made) => made.into_inner().user.unwrap_or_default(),
        Err(status) => {
            // Who has the address is answered as it stands.
            let existing = Failure::existing_id(&status).filter(|_| status.code() == Code::AlreadyExists);
            let user_id = existing.ok_or_else(|| refused(status))?;
            let found = call.accounts().get_user(call.request(pb::GetUserRequest { user_id })).await;
            return user(&call, &found.map_err(refused)?.into_inner().user.unwrap_or_default(), None).await;
        }
    };
    let made = match custom_attributes {
        Some(attributes) => {
            let changed = pb::User {
                custom_attributes: Some(attributes),
                ..made
            };
            put_user(
                &call,
                call.request_id_of("custom_attributes"),
                changed,
                vec!["custom_attributes".to_owned()],
            )
            .await?
        }
        None => made,
    };
    let secret = mint(&call, made.id).await?;
    user(&call, &made, Some(&secret)).await
}

async fn mint(call: &Call, user_id: i64) -> Result<String, Failure> {
    let request = pb::CreateTokenRequest {
        kind: pb::TokenKind::User.into(),
        name: "platform".to_owned(),
        user_id: Some(user_id),
        ..Default::default()
    };
    Ok(call
        .accounts()
        .create_token(call.request(request))
        .await
        .map_err(refused)?
        .into_inner()
        .secret)
}

async fn read_user(call: &Call, params: &Params) -> Result<pb::User, Failure> {
    let request = pb::GetUserRequest {
        user_id: params.fields().path_id("user_id"),
    };
    let found = call.accounts().get_user(call.request(request)).await.map_err(refused)?;
    Ok(found.into_inner().user.unwrap_or_default())
}

async fn show_user(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let found = read_user(&call, &params).await?;
    user(&call, &found, None).await
}

async fn put_user(call: &Call, request_id: String, user: pb::User, paths: Vec<String>) -> Result<pb::User, Failure> {
    let request = pb::UpdateUserRequest {
        request_id,
        user: Some(user),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.accounts().update_user(call.request(request)).await.map_err(refused)?;
    Ok(changed.into_inner().user.unwrap_or_default())
}

async fn update_user(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let mut fields = params.fields();
    check_password(&mut fields);
    let found = read_user(&call, &params).await?;
    let mut paths = given(&fields, &["name", "email", "display_name"]);
    // Only what was sent, so that the same request is the same whatever it finds.
    let mut changed = pb::User {
        id: found.id,
        ..Default::default()
    };
    if fields.filled("name") {
        changed.name = fields.text("name").unwrap_or_default();
    }
    if fields.filled("email") {
        changed.email = fields.text("email").unwrap_or_default();
    }
    if fields.filled("display_name") {
        changed.display_name = fields.text("display_name");
    }
    if let Some(added) = fields.object("custom_attributes") {
        // Merged at the top level.
        paths.extend(added.fields.keys().map(|key| format!("custom_attributes.{key}")));
        changed.custom_attributes = Some(added);
    }
    fields.verdict()?;
    let changed = if paths.is_empty() {
        found
    } else {
        put_user(&call, call.request_id(), changed, paths).await?
    };
    user(&call, &changed, None).await
}

async fn make_token(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let found = read_user(&call, &params).await?;
    let secret = mint(&call, found.id).await?;
    Ok(json::ok(&json!({
        "access_token": secret,
        "expiry": null,
        "user": {
            "id": found.id,
            "name": found.name,
            "display_name": found.display_name,
            "email": found.email,
            "pubsub_token": null,
        },
    })))
}

async fn list_members(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let mut request = pb::ListMembersRequest {
        account_id: params.fields().account(),
        ..Default::default()
    };
    let mut members = Vec::new();
    loop {
        let page = call.accounts().list_members(call.request(request.clone())).await;
        let page = page.map_err(refused)?.into_inner();
        members.extend(page.agents.iter().map(json::platform::member));
        if page.next_page_token.is_empty() {
            return Ok(json::ok(&json!(members)));
        }
        request.page_token = page.next_page_token;
    }
}

/// Makes a member, or gives one another role.
async fn set_member(call: Call, params: Params) -> Answer {
    const ROLES: [(&str, pb::Role); 2] = [("agent", pb::Role::Agent), ("administrator", pb::Role::Administrator)];
    operator(&call).await?;
    let mut fields = params.fields();
    let (account_id, user_id) = (fields.account(), fields.path_id("user_id"));
    let role = fields.choice("role", &ROLES).unwrap_or(pb::Role::Agent);
    fields.verdict()?;
    let request = pb::CreateMembershipRequest {
        account_id,
        user_id,
        role: role.into(),
        request_id: call.request_id(),
        ..Default::default()
    };
    let agent = match call.accounts().create_membership(call.request(request)).await {
        Ok(made) => made.into_inner().agent,
        Err(status) if is_taken(&status) => {
            let request = pb::UpdateMembershipRequest {
                account_id,
                user_id,
                role: role.into(),
                request_id: call.request_id_of("role"),
                ..Default::default()
            };
            let changed = call.accounts().update_membership(call.request(request)).await;
            changed.map_err(refused)?.into_inner().agent
        }
        Err(status) => return Err(refused(status)),
    };
    Ok(json::ok(&json::platform::member(&agent.unwrap_or_default())))
}

/// Whether it is there already; a key that another request used has the same code.
fn is_taken(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    reason.as_deref() == Some("ALREADY_TAKEN")
}

async fn remove_member(call: Call, params: Params) -> Answer {
    operator(&call).await?;
    let fields = params.fields();
    let request = pb::DeleteMembershipRequest {
        account_id: fields.account(),
        user_id: fields.path_id("user_id"),
        request_id: call.request_id(),
    };
    match call.accounts().delete_membership(call.request(request)).await {
        // Who is no member need not be removed.
        Err(status) if Failure::missing_kind(&status).as_deref() == Some("member") => Ok(json::empty()),
        Err(status) => Err(refused(status)),
        Ok(_) => Ok(json::empty()),
    }
}
