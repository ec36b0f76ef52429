//! The account in the path, and the cache keys of its lists. The operator's account routes are in `platform`.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        account::{Account, CacheKeys},
        values::one_key,
    },
    openapi::{Caller, describe, schema::Parameters as _},
    params::{Params, declaration::params},
};

params! {
    struct AccountParams { name: String, locale: String, domain: Option<String>, support_email: Option<String> }
}

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    ApiRouter::new("Account")
        .get(
            ACCOUNT,
            show,
            describe("showAccount", "AccountsService.GetAccount").returns::<Account>(),
        )
        .update(
            ACCOUNT,
            update,
            describe("updateAccount", "AccountsService.UpdateAccount")
                .caller(Caller::Administrator)
                .params::<AccountParams>()
                .returns::<Account>(),
        )
        .get(
            &format!("{ACCOUNT}/cache_keys"),
            cache_keys,
            describe("showCacheKeys", "AccountsService.GetCacheKeys").returns::<CacheKeysBody<CacheKeys>>(),
        )
}

async fn keys(call: &Call, account_id: i64) -> Result<pb::CacheKeys, ApiError> {
    let request = pb::GetCacheKeysRequest { account_id };
    let found = call.send(request).await?;
    Ok(found.cache_keys.unwrap_or_default())
}

async fn show(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    // The operator may call the gRPC method, but not this route.
    call.authorize(account_id).await?;
    let request = pb::GetAccountRequest { account_id };
    let found = call.send(request).await?;
    let keys = keys(&call, account_id).await?;
    Ok(json::ok(&Account::new(found.account.unwrap_or_default(), keys)))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    call.authorize(account_id).await?;
    let sent: AccountParams = fields.parse()?;
    let account = pb::Account {
        id: account_id,
        name: sent.name.unwrap_or_default(),
        locale: sent.locale.unwrap_or_default(),
        domain: sent.domain,
        support_email: sent.support_email,
        ..Default::default()
    };
    let paths = fields.sent(AccountParams::NAMES);
    if paths.is_empty() {
        return show(call, params).await;
    }
    let request = pb::UpdateAccountRequest {
        request_id: call.request_id(),
        account: Some(account),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.send(request).await?;
    let keys = keys(&call, account_id).await?;
    Ok(json::ok(&Account::new(changed.account.unwrap_or_default(), keys)))
}

one_key!(CacheKeysBody { cache_keys });

async fn cache_keys(call: Call, params: Params) -> ApiResult {
    let keys = keys(&call, params.fields().account()).await?;
    Ok(json::ok(&CacheKeysBody {
        cache_keys: CacheKeys::from(keys),
    }))
}
