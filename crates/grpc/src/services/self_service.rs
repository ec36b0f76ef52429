//! The methods of `AccountsService` with which members change their own data and read the cache keys for their lists.

use parley_domain::cache_keys::CacheKeys;
use parley_proto as pb;
use parley_types::{error::Result, id::AccountId};
use tonic::{Request, Response, Status};

use super::{
    accounts::{AccountsApi, membership},
    request::{caller, identity, resource_call},
    response::resource_response,
};
use crate::{status::OrStatus as _, validation::fields::Validator};

pub(super) fn cache_keys_message(keys: CacheKeys) -> pb::CacheKeys {
    pb::CacheKeys {
        label: keys.label,
        inbox: keys.inbox,
        team: keys.team,
    }
}

impl AccountsApi {
    pub(super) async fn handle_update_own_availability(
        &self,
        request: Request<pb::UpdateOwnAvailabilityRequest>,
    ) -> Result<Response<pb::UpdateOwnAvailabilityResponse>, Status> {
        let req = request.get_ref();
        let (identity, account) = (identity(&request).or_status()?, AccountId(req.account_id));
        identity.caller.write_access(account).or_status()?;
        // The target of the audit event is the caller's own user, which the request does not name.
        let user = identity.caller.user_id().map(|user| ("user_id", user.0));
        identity.set_audit_target(Some(account), user);
        let mut fields = Validator::default();
        let patch = membership(&mut fields, 0, req.availability, req.auto_offline);
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        let updated = self
            .own_membership
            .update_availability(call, patch.availability, patch.auto_offline);
        resource_response(updated.await.or_status()?).or_status()
    }

    pub(super) async fn handle_set_active_account(
        &self,
        request: Request<pb::SetActiveAccountRequest>,
    ) -> Result<Response<pb::SetActiveAccountResponse>, Status> {
        let (caller, req) = (caller(&request).or_status()?, request.get_ref());
        let account = AccountId(req.account_id);
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        fields.request_id(&req.request_id);
        fields.finish().or_status()?;
        let head = self.own_membership.set_active_account(&caller, account).await.or_status()?;
        Ok(Response::new(pb::SetActiveAccountResponse { cursor: head.encode() }))
    }

    pub(super) async fn handle_get_cache_keys(
        &self,
        request: Request<pb::GetCacheKeysRequest>,
    ) -> Result<Response<pb::GetCacheKeysResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        let keys = self
            .accounts
            .cache_keys(&*caller(&request).or_status()?, account)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetCacheKeysResponse {
            cache_keys: Some(cache_keys_message(keys)),
        }))
    }
}
