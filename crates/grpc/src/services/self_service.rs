//! The methods of `AccountsService` that members use for themselves, and the cache keys of their lists.

use bytes::Bytes;
use parley_domain::{cache_keys::CacheKeys, joined::Agent};
use parley_eventlog::conversion::ToProto as _;
use parley_proto as pb;
use parley_types::{error::Result, id::AccountId};
use tonic::{Request, Response, Status};

use super::{
    accounts::{AccountsApi, membership},
    request::{caller, change, identity},
    response::answered,
};
use crate::{status::OrStatus as _, validation::fields::Fields};

pub(super) fn cache_keys_message(keys: CacheKeys) -> pb::CacheKeys {
    pb::CacheKeys {
        label: keys.label,
        inbox: keys.inbox,
        team: keys.team,
    }
}

impl AccountsApi {
    pub(super) async fn own_availability_updated(
        &self,
        request: Request<pb::UpdateOwnAvailabilityRequest>,
    ) -> Result<Response<pb::UpdateOwnAvailabilityResponse>, Status> {
        let asked = request.get_ref();
        let (identity, account) = (identity(&request).or_status()?, AccountId(asked.account_id));
        identity.caller.write_access(account).or_status()?;
        // The target of the audit event is the user, whom the request does not name.
        let user = identity.caller.user_id().map(|user| ("user_id", user.0));
        identity.set_audit_target(Some(account), user);
        let respond = |agent: &Agent, cursor: Bytes| pb::UpdateOwnAvailabilityResponse {
            agent: Some(agent.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let patch = membership(&mut fields, 0, asked.availability, asked.auto_offline);
        let call = change(&mut fields, &request, account, respond).or_status()?;
        fields.done().or_status()?;
        let updated = self
            .own_membership
            .update_availability(call, patch.availability, patch.auto_offline);
        answered(updated.await.or_status()?, respond)
    }

    pub(super) async fn active_account_set(
        &self,
        request: Request<pb::SetActiveAccountRequest>,
    ) -> Result<Response<pb::SetActiveAccountResponse>, Status> {
        let (caller, asked) = (caller(&request).or_status()?, request.get_ref());
        let account = AccountId(asked.account_id);
        caller.write_access(account).or_status()?;
        let mut fields = Fields::default();
        fields.request_id(&asked.request_id);
        fields.done().or_status()?;
        let head = self.own_membership.set_active_account(&caller, account).await.or_status()?;
        Ok(Response::new(pb::SetActiveAccountResponse { cursor: head.encode() }))
    }

    pub(super) async fn cache_keys_read(
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
