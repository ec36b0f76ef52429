//! Implements `LoginsService`, which creates login links and redeems logins.

use std::sync::Arc;

use parley_domain::{Domain, auth::logins::Logins};
use parley_eventlog::conversion::ToProto as _;
use parley_proto::{self as pb, logins_service_server::LoginsService, value::timestamp};
use parley_types::{
    error::{Result, Rule},
    id::UserId,
};
use tonic::{Request, Response, Status};

use super::{request::caller, service_context::ServiceContext};
use crate::{status::OrStatus as _, validation::fields::Validator};

/// Maximum length of a login link's secret in characters.
const SECRET: usize = 64;

/// Rejects a call with a request id: the response contains a secret, which must not be stored, so the call cannot be idempotent.
pub(super) fn reject_request_id(fields: &mut Validator, request_id: &str) {
    if !request_id.is_empty() {
        fields.add_violation(
            "request_id",
            Rule::Invalid,
            "must be empty: a secret is returned only once, so this call cannot be replayed",
        );
    }
}

/// Implements `LoginsService`.
#[derive(Clone, Debug)]
pub struct LoginsApi {
    logins: Logins,
    server: Arc<ServiceContext>,
}

impl LoginsApi {
    pub fn new(domain: &Domain, server: &Arc<ServiceContext>) -> Self {
        Self {
            logins: domain.logins.clone(),
            server: Arc::clone(server),
        }
    }
}

#[tonic::async_trait]
impl LoginsService for LoginsApi {
    async fn create_login_link(
        &self,
        request: Request<pb::CreateLoginLinkRequest>,
    ) -> Result<Response<pb::CreateLoginLinkResponse>, Status> {
        let caller = caller(&request).or_status()?;
        caller.platform().or_status()?;
        let req = request.get_ref();
        let mut fields = Validator::default();
        reject_request_id(&mut fields, &req.request_id);
        let user = UserId(fields.id("user_id", req.user_id));
        fields.finish().or_status()?;
        let made = self.logins.create(&caller, user).await.or_status()?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("email", &made.email)
            .append_pair("sso_auth_token", &made.secret)
            .finish();
        Ok(Response::new(pb::CreateLoginLinkResponse {
            url: format!("{}/app/login?{query}", self.server.config.base_url),
            secret: made.secret,
            expires_at: Some(timestamp(made.expires_at)),
            cursor: bytes::Bytes::new(),
        }))
    }

    async fn redeem_login(&self, request: Request<pb::RedeemLoginRequest>) -> Result<Response<pb::RedeemLoginResponse>, Status> {
        let req = request.into_inner();
        let mut fields = Validator::default();
        reject_request_id(&mut fields, &req.request_id);
        let email = fields.email("email", Some(req.email));
        if email.is_none() {
            fields.add_violation("email", Rule::Required, "must be given");
        }
        fields.required("secret", &req.secret, SECRET);
        fields.finish().or_status()?;
        let (token, secret) = self.logins.redeem(&email.unwrap_or_default(), &req.secret).await.or_status()?;
        Ok(Response::new(pb::RedeemLoginResponse {
            token: Some(token.to_proto()),
            secret,
            cursor: bytes::Bytes::new(),
        }))
    }
}
