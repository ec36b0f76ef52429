//! The token methods of `AccountsService`.

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
        fields::{Fields, SHORT},
        page,
    },
};

impl AccountsApi {
    pub(super) async fn token_created(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let identity = identity(&request).or_status()?;
        let asked = request.into_inner();
        let user = asked.user_id.map(|id| ("user_id", id));
        let resource = user.or_else(|| asked.agent_bot_id.map(|id| ("agent_bot_id", id)));
        identity.set_audit_target(asked.account_id.map(AccountId), resource);
        let caller = identity.caller;
        caller.may_write().or_status()?;
        let mut fields = Fields::default();
        if !asked.request_id.is_empty() {
            fields.refuse(
                "request_id",
                Rule::Invalid,
                "must be empty: a secret is shown once, so this call cannot be repeated",
            );
        }
        fields.name("name", &asked.name, SHORT);
        fields.count("inbox_ids", asked.inbox_ids.len(), 1000);
        let kind = fields.kind::<pb::TokenKind>("kind", asked.kind).and_then(pb::TokenKind::to_row);
        let kind = kind.unwrap_or_else(|| {
            fields.refuse("kind", Rule::Required, "must be user, service, platform or agent bot");
            TokenKind::User
        });
        let must = |fields: &mut Fields, field: &str, given: bool, wanted: bool| {
            if wanted && !given {
                fields.refuse(field, Rule::Required, "must be given for this kind of token");
            } else if given && !wanted {
                fields.refuse(field, Rule::Invalid, "must be absent for this kind of token");
            }
        };
        must(&mut fields, "user_id", asked.user_id.is_some(), kind == TokenKind::User);
        must(
            &mut fields,
            "agent_bot_id",
            asked.agent_bot_id.is_some(),
            kind == TokenKind::AgentBot,
        );
        if kind != TokenKind::User {
            must(&mut fields, "account_id", asked.account_id.is_some(), kind == TokenKind::Service);
        }
        if kind != TokenKind::Service {
            must(&mut fields, "inbox_ids", !asked.inbox_ids.is_empty(), false);
        }
        let expires_at = fields.time("expires_at", asked.expires_at.as_ref());
        if expires_at.is_some_and(|at| at <= Micros::now()) {
            fields.refuse("expires_at", Rule::OutOfRange(0), "must be in the future");
        }
        fields.done().or_status()?;
        let new = NewToken {
            kind,
            name: asked.name,
            account: asked.account_id.map(AccountId),
            user: asked.user_id.map(UserId),
            agent_bot: asked.agent_bot_id.map(AgentBotId),
            read_only: asked.read_only,
            inboxes: asked.inbox_ids.into_iter().map(InboxId).collect(),
            expires_at,
        };
        let (token, secret) = self.tokens.create(&caller, new).await.or_status()?;
        Ok(Response::new(pb::CreateTokenResponse {
            token: Some(token.to_proto()),
            secret,
            cursor: bytes::Bytes::new(),
        }))
    }

    pub(super) async fn tokens_listed(&self, request: Request<pb::ListTokensRequest>) -> Result<Response<pb::ListTokensResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let asked = request.into_inner();
        let same = pb::ListTokensRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 100), &asked.page_token, 0);
        fields.done().or_status()?;
        let found = self
            .tokens
            .list(&caller, asked.account_id.map(AccountId), &page)
            .await
            .or_status()?;
        let (tokens, next_page_token) = page::fill(&same, &found, pb::Token::from_stored);
        Ok(Response::new(pb::ListTokensResponse { tokens, next_page_token }))
    }

    pub(super) async fn token_revoked(
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
