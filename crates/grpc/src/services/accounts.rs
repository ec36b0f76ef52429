//! Implements `AccountsService`, except for its token methods.

use parley_domain::{
    Domain,
    auth::tokens::Tokens,
    kind::AccountStatus,
    people::{
        accounts::{AccountPatch, Accounts},
        agents::Agents,
        members::{Members, MembershipPatch},
        presence::Presence,
        self_service::OwnMembership,
        users::{NewUser, Profile, UserPatch, Users},
    },
};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto::{self as pb, accounts_service_server::AccountsService, policy};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, UserId},
};
use tonic::{Request, Response, Status};

use super::{
    request::{caller, identity, resource_call, resource_call_in},
    response::{found, resource_response},
    truncation,
};
use crate::{
    middleware::policy::check,
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// The account id under which the idempotent responses of calls outside of any account are stored.
const OUTSIDE_ACCOUNTS: AccountId = AccountId(0);

/// Returns the paths of an update mask, sorted and without duplicates. An empty mask is reported as a violation.
pub(super) fn mask(fields: &mut Validator, mask: Option<prost_types::FieldMask>) -> Vec<String> {
    let mut paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        fields.add_violation("update_mask", Rule::Required, "must name the fields to change");
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Maximum length of a domain in characters, as in Chatwoot.
const DOMAIN: usize = 100;

fn locale(fields: &mut Validator, field: &str, locale: &str) {
    let tag = locale
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if locale.is_empty() || locale.len() > 16 || !tag {
        fields.add_violation(
            field,
            Rule::Invalid,
            "must be a BCP 47 tag of at most 16 characters, such as \"en\"",
        );
    }
}

/// Implements `AccountsService`.
#[derive(Clone, Debug)]
pub struct AccountsApi {
    pub(super) accounts: Accounts,
    pub(super) users: Users,
    pub(super) members: Members,
    pub(super) agents: Agents,
    pub(super) own_membership: OwnMembership,
    pub(super) presence: Presence,
    pub(super) tokens: Tokens,
}

impl AccountsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            accounts: domain.accounts.clone(),
            users: domain.users.clone(),
            members: domain.members.clone(),
            agents: domain.agents.clone(),
            own_membership: domain.own_membership.clone(),
            presence: domain.presence.clone(),
            tokens: domain.context.tokens.clone(),
        }
    }
}

#[tonic::async_trait]
impl AccountsService for AccountsApi {
    async fn get_profile(&self, request: Request<pb::GetProfileRequest>) -> Result<Response<pb::GetProfileResponse>, Status> {
        let profile = self.users.profile(&*caller(&request).or_status()?).await.or_status()?;
        let rows: Vec<_> = profile.memberships.iter().map(|(row, _)| row).collect();
        let shown = self.presence.shown_availability(&rows).await.or_status()?;
        let mut memberships = memberships(&profile);
        for (membership, shown) in memberships.iter_mut().zip(shown) {
            membership.set_availability_status(shown.into());
        }
        Ok(Response::new(pb::GetProfileResponse {
            user: Some(profile.user.to_proto()),
            memberships,
            pubsub_token: profile.pubsub_token,
        }))
    }

    async fn get_access(&self, request: Request<pb::GetAccessRequest>) -> Result<Response<pb::GetAccessResponse>, Status> {
        let (caller, req) = (caller(&request).or_status()?, request.get_ref());
        check(policy::called(&req.method), &caller).or_status()?;
        let access = caller.access(AccountId(req.account_id)).or_status()?;
        Ok(Response::new(pb::GetAccessResponse {
            role: pb::Role::from(access.role).into(),
        }))
    }

    async fn create_account(&self, request: Request<pb::CreateAccountRequest>) -> Result<Response<pb::CreateAccountResponse>, Status> {
        caller(&request).or_status()?.platform().or_status()?;
        let req = request.get_ref();
        let mut fields = Validator::default();
        fields.required_name("name", &req.name, SHORT_TEXT);
        let language = if req.locale.is_empty() { "en" } else { &req.locale };
        locale(&mut fields, "locale", language);
        let mut new = AccountPatch {
            name: Some(req.name.clone()),
            locale: Some(language.to_owned()),
            status: status(&mut fields, "status", req.status),
            domain: Some(domain(&mut fields, "domain", req.domain.clone())),
            support_email: Some(fields.email("support_email", req.support_email.clone())),
            ..AccountPatch::default()
        };
        for (field, given, patch) in [
            ("features", &req.features, &mut new.features),
            ("limits", &req.limits, &mut new.limits),
            ("custom_attributes", &req.custom_attributes, &mut new.custom_attributes),
        ] {
            patch.replace = Some(fields.attributes(field, given.as_ref()));
        }
        let call = resource_call_in(OUTSIDE_ACCOUNTS, &mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.accounts.create(call, new).await.or_status()?).or_status()
    }

    async fn get_account(&self, request: Request<pb::GetAccountRequest>) -> Result<Response<pb::GetAccountResponse>, Status> {
        let account = self
            .accounts
            .get(&*caller(&request).or_status()?, AccountId(request.get_ref().account_id))
            .await
            .or_status()?;
        Ok(found(account.as_ref()))
    }

    async fn list_accounts(&self, request: Request<pb::ListAccountsRequest>) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 100);
        fields.finish().or_status()?;
        let found = self.accounts.list(&*caller(&request).or_status()?, &page).await.or_status()?;
        Ok(page::response(req, &found, pb::Account::from_stored))
    }

    async fn update_account(&self, request: Request<pb::UpdateAccountRequest>) -> Result<Response<pb::UpdateAccountResponse>, Status> {
        let req = request.get_ref();
        let account = required("account", req.account.clone()).or_status()?;
        caller(&request)
            .or_status()?
            .administer_or_platform(AccountId(account.id))
            .or_status()?;
        let mut fields = Validator::default();
        let call = resource_call_in(AccountId(account.id), &mut fields, &request).or_status()?;
        let mut patch = AccountPatch::default();
        for path in mask(&mut fields, req.update_mask.clone()) {
            match path.as_str() {
                "name" => {
                    fields.required_name("account.name", &account.name, SHORT_TEXT);
                    patch.name = Some(account.name.clone());
                }
                "locale" => {
                    locale(&mut fields, "account.locale", &account.locale);
                    patch.locale = Some(account.locale.clone());
                }
                "status" => patch.status = status(&mut fields, "account.status", account.status),
                "domain" => patch.domain = Some(domain(&mut fields, "account.domain", account.domain.clone())),
                "support_email" => {
                    patch.support_email = Some(fields.email("account.support_email", account.support_email.clone()));
                }
                other => object(&mut fields, &mut patch, &account, other),
            }
        }
        fields.finish().or_status()?;
        resource_response(self.accounts.update(call, patch).await.or_status()?).or_status()
    }

    async fn delete_account(&self, request: Request<pb::DeleteAccountRequest>) -> Result<Response<pb::DeleteAccountResponse>, Status> {
        let identity = identity(&request).or_status()?;
        identity.caller.platform().or_status()?;
        let mut fields = Validator::default();
        let account = AccountId(request.get_ref().account_id);
        // Store the audit event outside of the account, because the account's own audit events are deleted with the account.
        identity.set_audit_target(None, Some(("account_id", account.0)));
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.accounts.delete(call).await.or_status()?).or_status()
    }

    async fn delete_user(&self, request: Request<pb::DeleteUserRequest>) -> Result<Response<pb::DeleteUserResponse>, Status> {
        caller(&request).or_status()?.platform().or_status()?;
        let mut fields = Validator::default();
        let id = UserId(request.get_ref().user_id);
        let call = resource_call_in(OUTSIDE_ACCOUNTS, &mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.users.delete(call, id).await.or_status()?).or_status()
    }

    async fn create_user(&self, request: Request<pb::CreateUserRequest>) -> Result<Response<pb::CreateUserResponse>, Status> {
        caller(&request).or_status()?.platform().or_status()?;
        let req = request.get_ref();
        let mut fields = Validator::default();
        fields.required_name("name", &req.name, SHORT_TEXT);
        let email = fields.email("email", Some(req.email.clone()));
        if email.is_none() {
            fields.add_violation("email", Rule::Required, "must be given");
        }
        let display_name = fields.optional("display_name", req.display_name.clone(), SHORT_TEXT);
        let custom_attributes = fields.attributes("custom_attributes", req.custom_attributes.as_ref());
        let call = resource_call_in(OUTSIDE_ACCOUNTS, &mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        let new = NewUser {
            name: req.name.clone(),
            email: email.unwrap_or_default(),
            display_name,
            custom_attributes: custom_attributes.into(),
        };
        resource_response(self.users.create(call, new).await.or_status()?).or_status()
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Result<Response<pb::GetUserResponse>, Status> {
        let found = self
            .users
            .get(&*caller(&request).or_status()?, UserId(request.get_ref().user_id))
            .await
            .or_status()?;
        Ok(Response::new(pb::GetUserResponse {
            user: Some(found.user.to_proto()),
            memberships: memberships(&found),
        }))
    }

    async fn update_user(&self, request: Request<pb::UpdateUserRequest>) -> Result<Response<pb::UpdateUserResponse>, Status> {
        let req = request.get_ref();
        let user = required("user", req.user.clone()).or_status()?;
        let mut fields = Validator::default();
        let call = resource_call_in(OUTSIDE_ACCOUNTS, &mut fields, &request).or_status()?;
        let patch = user_patch(&mut fields, &user, req.update_mask.clone());
        fields.finish().or_status()?;
        resource_response(self.users.update(call, UserId(user.id), patch).await.or_status()?).or_status()
    }

    async fn create_membership(
        &self,
        request: Request<pb::CreateMembershipRequest>,
    ) -> Result<Response<pb::CreateMembershipResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.platform().or_status()?;
        let mut fields = Validator::default();
        let user = UserId(fields.id("user_id", req.user_id));
        let new = membership(&mut fields, req.role, req.availability, req.auto_offline);
        if req.role == 0 {
            fields.add_violation("role", Rule::Required, "must be agent or administrator");
        }
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.members.create(call, user, new).await.or_status()?).or_status()
    }

    async fn update_membership(
        &self,
        request: Request<pb::UpdateMembershipRequest>,
    ) -> Result<Response<pb::UpdateMembershipResponse>, Status> {
        let req = request.get_ref();
        caller(&request)
            .or_status()?
            .administer_or_platform(AccountId(req.account_id))
            .or_status()?;
        let mut fields = Validator::default();
        let patch = membership(&mut fields, req.role, req.availability, req.auto_offline);
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.members.update(call, UserId(req.user_id), patch).await.or_status()?).or_status()
    }

    async fn delete_membership(
        &self,
        request: Request<pb::DeleteMembershipRequest>,
    ) -> Result<Response<pb::DeleteMembershipResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.members.delete(call, UserId(req.user_id)).await.or_status()?).or_status()
    }

    async fn update_own_availability(
        &self,
        request: Request<pb::UpdateOwnAvailabilityRequest>,
    ) -> Result<Response<pb::UpdateOwnAvailabilityResponse>, Status> {
        self.handle_update_own_availability(request).await
    }

    async fn set_active_account(
        &self,
        request: Request<pb::SetActiveAccountRequest>,
    ) -> Result<Response<pb::SetActiveAccountResponse>, Status> {
        self.handle_set_active_account(request).await
    }

    async fn get_cache_keys(&self, request: Request<pb::GetCacheKeysRequest>) -> Result<Response<pb::GetCacheKeysResponse>, Status> {
        self.handle_get_cache_keys(request).await
    }

    async fn create_agent(&self, request: Request<pb::CreateAgentRequest>) -> Result<Response<pb::CreateAgentResponse>, Status> {
        self.handle_create_agent(request).await
    }

    async fn create_agents(&self, request: Request<pb::CreateAgentsRequest>) -> Result<Response<pb::CreateAgentsResponse>, Status> {
        self.handle_create_agents(request).await
    }

    async fn update_agent(&self, request: Request<pb::UpdateAgentRequest>) -> Result<Response<pb::UpdateAgentResponse>, Status> {
        self.handle_update_agent(request).await
    }

    async fn list_members(&self, request: Request<pb::ListMembersRequest>) -> Result<Response<pb::ListMembersResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let found = self
            .members
            .list(&*caller(&request).or_status()?, AccountId(req.account_id), &page)
            .await
            .or_status()?;
        Ok(page::response(req, &found, pb::Agent::from_stored))
    }

    async fn create_token(&self, request: Request<pb::CreateTokenRequest>) -> Result<Response<pb::CreateTokenResponse>, Status> {
        self.handle_create_token(request).await
    }

    async fn list_tokens(&self, request: Request<pb::ListTokensRequest>) -> Result<Response<pb::ListTokensResponse>, Status> {
        self.handle_list_tokens(request).await
    }

    async fn revoke_token(&self, request: Request<pb::RevokeTokenRequest>) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        self.handle_revoke_token(request).await
    }
}

fn status(fields: &mut Validator, field: &str, number: i32) -> Option<AccountStatus> {
    let status = fields.kind::<pb::AccountStatus>(field, number);
    if status == Some(pb::AccountStatus::Deleted) {
        fields.add_violation(
            field,
            Rule::Invalid,
            "must be active or suspended; use DeleteAccount to delete an account",
        );
    }
    status.and_then(pb::AccountStatus::to_row)
}

fn domain(fields: &mut Validator, field: &str, domain: Option<String>) -> Option<String> {
    fields.optional(field, domain, DOMAIN)
}

/// Adds an attribute object of an account to the patch, or a single key of the object if `path` names one.
fn object(fields: &mut Validator, whole: &mut AccountPatch, account: &pb::Account, path: &str) {
    let (name, key) = path.split_once('.').map_or((path, None), |(name, key)| (name, Some(key)));
    let (given, part) = match name {
        "features" => (&account.features, &mut whole.features),
        "limits" => (&account.limits, &mut whole.limits),
        "custom_attributes" => (&account.custom_attributes, &mut whole.custom_attributes),
        _ => return fields.unknown_path(path),
    };
    let given = fields.attribute_update(&format!("account.{name}"), given.as_ref());
    match key {
        Some(key) => part.keys.push((key.to_owned(), given.get(key).cloned())),
        None => part.replace = Some(given),
    }
}

fn memberships(profile: &Profile) -> Vec<pb::Membership> {
    let with = |(row, account): &(_, _)| pb::Membership {
        account: Some(pb::Account::from_stored(account)),
        ..pb::Membership::from_stored(row)
    };
    truncation::memberships(profile.memberships.iter().map(with))
}

/// Converts the membership fields of a request to a patch, in which unspecified fields are `None`.
pub(super) fn membership(fields: &mut Validator, role: i32, availability: i32, auto_offline: Option<bool>) -> MembershipPatch {
    MembershipPatch {
        role: fields.kind::<pb::Role>("role", role).and_then(pb::Role::to_row),
        availability: fields
            .kind::<pb::Availability>("availability", availability)
            .and_then(pb::Availability::to_row),
        auto_offline,
    }
}

fn user_patch(fields: &mut Validator, user: &pb::User, paths: Option<prost_types::FieldMask>) -> UserPatch {
    let paths = mask(fields, paths);
    fields.within("user", |fields| {
        let mut patch = UserPatch::default();
        for path in paths {
            match path.as_str() {
                "name" => {
                    fields.required_name("name", &user.name, SHORT_TEXT);
                    patch.name = Some(user.name.clone());
                }
                "display_name" => patch.display_name = Some(fields.optional("display_name", user.display_name.clone(), SHORT_TEXT)),
                "email" => {
                    patch.email = fields.email("email", Some(user.email.clone()));
                    if patch.email.is_none() {
                        fields.add_violation("email", Rule::Required, "must be given");
                    }
                }
                "avatar_url" => {
                    fields.url("avatar_url", &user.avatar_url, 2048);
                    patch.avatar_url = Some(user.avatar_url.clone());
                }
                "custom_attributes" => {
                    patch.custom_attributes.replace = Some(fields.attribute_update("custom_attributes", user.custom_attributes.as_ref()));
                }
                "ui_settings" => patch.ui_settings = Some(fields.attribute_update("ui_settings", user.ui_settings.as_ref()).into()),
                "message_signature" => {
                    patch.message_signature = Some(fields.optional("message_signature", user.message_signature.clone(), 20_000));
                }
                other => match other.strip_prefix("custom_attributes.") {
                    Some(key) => {
                        let given = fields.attribute_update("custom_attributes", user.custom_attributes.as_ref());
                        patch.custom_attributes.keys.push((key.to_owned(), given.get(key).cloned()));
                    }
                    None => fields.unknown_path(other),
                },
            }
        }
        patch
    })
}
