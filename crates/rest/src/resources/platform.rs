//! The platform API: accounts and memberships, for the operator of an installation.

use parley_proto as pb;
use parley_proto::{AccountStatus, Role};
use prost_types::{FieldMask, Struct, value::Kind};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        platform::{AccountUser, PlatformAccount},
        values::{Id, Name},
    },
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{Params, attributes::Attributes, declaration::params, fields::ParamReader},
};

params! {
    struct AccountParams {
        name: String, locale: String, status: Name<AccountStatus>, domain: Option<String>, support_email: Option<String>,
        features: Attributes as Option<Struct> = features, limits: Attributes, custom_attributes: Attributes,
    }
    // Like `AccountParams`, in the order in which an update reports violations.
    struct AccountChange {
        status: Name<AccountStatus>, name: String, locale: String, domain: Option<String>, support_email: Option<String>,
        features: Attributes as Option<Struct> = features, limits: Attributes, custom_attributes: Attributes,
    }
    struct MemberParams { user_id: Id as i64 = ParamReader::path_id, role: Name<Role> }
    struct MemberKey { user_id: Id as i64 = ParamReader::path_id }
}

/// The base path of the platform API.
pub(crate) const PLATFORM: &str = "/platform/api/v1";

pub fn routes() -> ApiRouter {
    let accounts = format!("{PLATFORM}/accounts");
    let account = format!("{accounts}/{{account_id}}");
    let members = format!("{account}/account_users");
    ApiRouter::new("Platform side")
        .post(
            &accounts,
            create_account,
            platform_route("createPlatformAccount", "AccountsService.CreateAccount")
                .params::<AccountParams>()
                .returns::<PlatformAccount>(),
        )
        .get(
            &accounts,
            list_accounts,
            platform_route("listPlatformAccounts", "AccountsService.ListAccounts").returns::<Vec<PlatformAccount>>(),
        )
        .get(
            &account,
            show_account,
            platform_route("showPlatformAccount", "AccountsService.GetAccount").returns::<PlatformAccount>(),
        )
        .update(
            &account,
            update_account,
            platform_route("updatePlatformAccount", "AccountsService.UpdateAccount")
                .params::<AccountChange>()
                .returns::<PlatformAccount>(),
        )
        .delete(
            &account,
            delete_account,
            platform_route("deletePlatformAccount", "AccountsService.DeleteAccount"),
        )
        .get(
            &members,
            list_members,
            platform_route("listAccountUsers", "AccountsService.ListMembers").returns::<Vec<AccountUser>>(),
        )
        .post(
            &members,
            set_member,
            platform_route("setAccountUser", "AccountsService.CreateMembership")
                .params::<MemberParams>()
                .required(&["user_id", "role"])
                .returns::<AccountUser>(),
        )
        .delete(
            &members,
            remove_member,
            platform_route("removeAccountUser", "AccountsService.DeleteMembership")
                .params::<MemberKey>()
                .required(&["user_id"]),
        )
}

/// Describes a route for the operator.
pub(crate) fn platform_route(operation: &'static str, rpc: &'static str) -> RouteDescription {
    describe(operation, rpc).caller(Caller::Platform)
}

/// Converts an error of a platform API call.
#[allow(clippy::needless_pass_by_value)] // the signature that `map_err` requires
pub(crate) fn refused(status: Status) -> ApiError {
    ApiError::from_platform(&status)
}

/// Rejects tokens other than platform tokens: users and bots may call some of the gRPC methods, but not these routes.
pub(crate) async fn operator(call: &Call) -> Result<(), ApiError> {
    let request = pb::ListAgentBotsRequest {
        page_size: 1,
        ..Default::default()
    };
    call.send(request).await.map(drop).map_err(refused)
}

async fn create_account(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let sent: AccountParams = params.fields().parse()?;
    let request = pb::CreateAccountRequest {
        request_id: call.request_id(),
        name: sent.name.unwrap_or_default(),
        locale: sent.locale.unwrap_or_default(),
        status: sent.status.unwrap_or_default().into(),
        domain: sent.domain,
        support_email: sent.support_email,
        features: sent.features,
        limits: sent.limits,
        custom_attributes: sent.custom_attributes,
    };
    let made = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&PlatformAccount::from(made.account.unwrap_or_default())))
}

async fn list_accounts(call: Call) -> ApiResult {
    operator(&call).await?;
    let request = pb::ListAccountsRequest {
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows_or(refused, call, request, |rows| rows, PlatformAccount::from).await
}

async fn show_account(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let request = pb::GetAccountRequest {
        account_id: params.fields().account(),
    };
    let found = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&PlatformAccount::from(found.account.unwrap_or_default())))
}

async fn update_account(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    change_account(&call, &params, params.fields().account()).await
}

async fn delete_account(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let request = pb::DeleteAccountRequest {
        account_id: params.fields().account(),
        request_id: call.request_id(),
    };
    call.send(request).await.map_err(refused)?;
    Ok(json::empty())
}

/// Features by name. A blank or false value disables one, any other value enables it.
fn features(fields: &mut ParamReader<'_>, key: &str) -> Option<Struct> {
    let mut features = fields.object(key)?;
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

async fn change_account(call: &Call, params: &Params, id: i64) -> ApiResult {
    let mut fields = params.fields();
    let sent: AccountChange = fields.parse()?;
    let account = pb::Account {
        id,
        name: sent.name.unwrap_or_default(),
        locale: sent.locale.unwrap_or_default(),
        status: sent.status.unwrap_or_default().into(),
        domain: sent.domain,
        support_email: sent.support_email,
        features: sent.features,
        limits: sent.limits,
        custom_attributes: sent.custom_attributes,
        ..Default::default()
    };
    let mut paths: Vec<String> = filled_names(&fields, &["name", "locale", "status"]);
    paths.extend(fields.sent(&["domain", "support_email"]));
    for (name, object) in [("limits", &account.limits), ("custom_attributes", &account.custom_attributes)] {
        paths.extend(object.is_some().then(|| name.to_owned()));
    }
    // Features that were not sent are unchanged.
    let named = account.features.iter().flat_map(|features| features.fields.keys());
    paths.extend(named.map(|name| format!("features.{name}")));
    let changed = if paths.is_empty() {
        let request = pb::GetAccountRequest { account_id: id };
        call.send(request).await.map_err(refused)?.account
    } else {
        let request = pb::UpdateAccountRequest {
            request_id: call.request_id(),
            account: Some(account),
            update_mask: Some(FieldMask { paths }),
        };
        call.send(request).await.map_err(refused)?.account
    };
    Ok(json::ok(&PlatformAccount::from(changed.unwrap_or_default())))
}

/// The names of those fields that were sent with a value.
pub(crate) fn filled_names(fields: &ParamReader<'_>, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter(|name| fields.has_value(name))
        .map(|&name| name.to_owned())
        .collect()
}

async fn list_members(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let account_id = params.fields().account();
    let request = pb::ListMembersRequest {
        account_id,
        ..Default::default()
    };
    rows::all_rows_or(refused, call, request, |rows| rows, AccountUser::from).await
}

/// Adds a member, or changes the role of an existing one.
async fn set_member(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let mut fields = params.fields();
    let sent: MemberParams = fields.parse()?;
    let (account_id, user_id) = (fields.account(), sent.user_id);
    let role = sent.role.unwrap_or(Role::Agent);
    let request = pb::CreateMembershipRequest {
        account_id,
        user_id,
        role: role.into(),
        request_id: call.request_id(),
        ..Default::default()
    };
    let agent = match call.send(request).await {
        Ok(made) => made.agent,
        Err(status) if is_taken(&status) => {
            let request = pb::UpdateMembershipRequest {
                account_id,
                user_id,
                role: role.into(),
                request_id: call.request_id_of("role"),
                ..Default::default()
            };
            let changed = call.send(request).await;
            changed.map_err(refused)?.agent
        }
        Err(status) => return Err(refused(status)),
    };
    Ok(json::ok(&AccountUser::from(agent.unwrap_or_default())))
}

/// Whether the request failed because the member already exists. The error for a reused idempotency key has the same status code, so the
/// reason is compared.
fn is_taken(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    reason.as_deref() == Some("ALREADY_TAKEN")
}

async fn remove_member(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let mut fields = params.fields();
    let request = pb::DeleteMembershipRequest {
        account_id: fields.account(),
        user_id: fields.read::<MemberKey>().user_id,
        request_id: call.request_id(),
    };
    match call.send(request).await {
        // Removing a user who is not a member succeeds.
        Err(status) if ApiError::missing_kind(&status).as_deref() == Some("member") => Ok(json::empty()),
        Err(status) => Err(refused(status)),
        Ok(_) => Ok(json::empty()),
    }
}
