//! The methods of `AccountsService` that manage access tokens.

use parley_domain::{auth::tokens::NewToken, kind::TokenKind};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto as pb;
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, AgentBotId, InboxId, TokenId, UserId},
    time::Micros,
};
use tonic::{Request, Response, Status};

use super::{
    accounts::AccountsApi,
    request::{caller, identity},
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator},
        page,
    },
};

impl AccountsApi {
    pub(super) async fn handle_create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let identity = identity(&request).or_status()?;
        let req = request.into_inner();
        let user = req.user_id.map(|id| ("user_id", id));
        let resource = user.or_else(|| req.agent_bot_id.map(|id| ("agent_bot_id", id)));
        identity.set_audit_target(req.account_id.map(AccountId), resource);
        let caller = identity.caller;
        caller.may_write().or_status()?;
        let mut fields = Validator::default();
        if !req.request_id.is_empty() {
            fields.add_violation(
                "request_id",
                Rule::Invalid,
                "must be empty: a secret is returned only once, so this call cannot be replayed",
            );
        }
        fields.name("name", &req.name, SHORT_TEXT);
        fields.count("inbox_ids", req.inbox_ids.len(), 1000);
        let kind = fields.kind::<pb::TokenKind>("kind", req.kind).and_then(pb::TokenKind::to_row);
        let kind = kind.unwrap_or_else(|| {
            fields.add_violation("kind", Rule::Required, "must be user, service, platform or agent bot");
            TokenKind::User
        });
        let must = |fields: &mut Validator, field: &str, given: bool, wanted: bool| {
            if wanted && !given {
                fields.add_violation(field, Rule::Required, "must be given for this kind of token");
            } else if given && !wanted {
                fields.add_violation(field, Rule::Invalid, "must be absent for this kind of token");
            }
        };
        must(&mut fields, "user_id", req.user_id.is_some(), kind == TokenKind::User);
        must(&mut fields, "agent_bot_id", req.agent_bot_id.is_some(), kind == TokenKind::AgentBot);
        if kind != TokenKind::User {
            must(&mut fields, "account_id", req.account_id.is_some(), kind == TokenKind::Service);
        }
        if kind != TokenKind::Service {
            must(&mut fields, "inbox_ids", !req.inbox_ids.is_empty(), false);
        }
        let expires_at = fields.time("expires_at", req.expires_at.as_ref());
        if expires_at.is_some_and(|at| at <= Micros::now()) {
            fields.add_violation("expires_at", Rule::OutOfRange(0), "must be in the future");
        }
        fields.finish().or_status()?;
        let new = NewToken {
            kind,
            name: req.name,
            account: req.account_id.map(AccountId),
            user: req.user_id.map(UserId),
            agent_bot: req.agent_bot_id.map(AgentBotId),
            read_only: req.read_only,
            inboxes: req.inbox_ids.into_iter().map(InboxId).collect(),
            expires_at,
        };
        let (token, secret) = self.tokens.create(&caller, new).await.or_status()?;
        Ok(Response::new(pb::CreateTokenResponse {
            token: Some(token.to_proto()),
            secret,
            cursor: bytes::Bytes::new(),
        }))
    }

    pub(super) async fn handle_list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, &req, 100);
        fields.finish().or_status()?;
        let found = self.tokens.list(&caller, req.account_id.map(AccountId), &page).await.or_status()?;
        Ok(page::response(&req, &found, pb::Token::from_stored))
    }

    pub(super) async fn handle_revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let id = request.get_ref().token_id;
        let identity = identity(&request).or_status()?;
        identity.set_audit_target(None, Some(("token_id", id)));
        let token = self.tokens.revoke(&identity.caller, TokenId(id)).await.or_status()?;
        Ok(Response::new(pb::RevokeTokenResponse {
            token: Some(token.to_proto()),
            cursor: bytes::Bytes::new(),
        }))
    }
}
