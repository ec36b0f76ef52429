//! A call on its way through the stack. Each layer hands on what the layers below need, by fields and not by extensions of the request: an
//! extension costs an allocation and a lookup. [`AuthenticatedCall`] is a type of its own, so a layer that needs the caller cannot be placed
//! above `Auth`.

use std::sync::Arc;

use http::Request;
use parley_proto::policy::{self, Method};
use parley_types::id::TokenId;
use tokio::time::Instant;

use super::{audit_event::AuditEvent, authenticator::Payer, identity::Identity};

/// A call whose caller is not known yet.
#[derive(Debug)]
pub struct RpcCall {
    pub request: Request<axum::body::Body>,
    /// None for a path that the contract does not name; the router answers it with UNIMPLEMENTED, after authentication.
    pub method: Option<&'static Method>,
    /// Present if the method is audited.
    pub audit: Option<Arc<AuditEvent>>,
}

impl RpcCall {
    /// Looks the method up by the path of the request.
    pub fn new(request: Request<axum::body::Body>) -> Self {
        Self {
            method: policy::method(request.uri().path()),
            audit: None,
            request,
        }
    }

    /// Whether the client decides how long the call takes: a subscription, a download or an upload.
    pub fn is_streaming(&self) -> bool {
        self.method.is_some_and(|method| method.is_stream() || method.is_upload())
    }
}

/// Who makes a call.
#[derive(Debug)]
pub enum CallIdentity {
    /// A caller whose token is valid.
    Caller(Identity),
    /// A caller of a method that needs no token, and whom the call is charged to.
    Anonymous(Payer),
}

impl CallIdentity {
    /// The caller, unless the method needs no token.
    pub fn caller(&self) -> Option<&Identity> {
        match self {
            Self::Caller(identity) => Some(identity),
            Self::Anonymous(_) => None,
        }
    }

    /// The token whose rate limit the call counts against.
    pub fn token(&self) -> Option<TokenId> {
        match self {
            Self::Caller(identity) => Some(identity.caller.token),
            Self::Anonymous(payer) => payer.service().map(|service| service.token),
        }
    }
}

/// A call whose caller is known.
#[derive(Debug)]
pub struct AuthenticatedCall {
    pub request: Request<axum::body::Body>,
    pub method: Option<&'static Method>,
    pub identity: CallIdentity,
    /// When the call has to be answered; of a stream, when it has to be opened.
    pub deadline: Instant,
    /// What is left of the token's rate limit once this call is charged; absent without a token or a limit.
    pub rate_limit: Option<super::limits::RateLimitState>,
}
