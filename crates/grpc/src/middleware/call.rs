//! The types that represent a call in the middleware. Layers pass data down in the fields of these types and not in request extensions,
//! because each extension would cost an allocation and a lookup. [`AuthenticatedCall`] is a separate type so that a layer that needs the
//! caller cannot be placed above `Auth`.

use std::sync::Arc;

use http::Request;
use parley_proto::policy::{self, Method};
use parley_types::id::TokenId;
use tokio::time::Instant;

use super::{audit_event::AuditEvent, authenticator::Payer, identity::Identity};

/// A call before authentication.
#[derive(Debug)]
pub struct RpcCall {
    pub request: Request<axum::body::Body>,
    /// The method, or `None` if the contract does not define the path. The router responds to such a call with UNIMPLEMENTED, after
    /// authentication.
    pub method: Option<&'static Method>,
    /// The audit event; present if the method is audited.
    pub audit: Option<Arc<AuditEvent>>,
}

impl RpcCall {
    /// Creates a call, and looks up its method by the request's path.
    pub fn new(request: Request<axum::body::Body>) -> Self {
        Self {
            method: policy::method(request.uri().path()),
            audit: None,
            request,
        }
    }

    /// Whether the client determines how long the call lasts, as for a subscription, a download or an upload.
    pub fn is_streaming(&self) -> bool {
        self.method.is_some_and(|method| method.is_stream() || method.is_upload())
    }
}

/// The caller of an [`AuthenticatedCall`].
#[derive(Debug)]
pub enum CallIdentity {
    /// A caller whose token is valid.
    Caller(Identity),
    /// A call to a method that needs no token, with the party that the call is charged to.
    Anonymous(Payer),
}

impl CallIdentity {
    /// Returns the authenticated caller, or `None` if the method needs no token.
    pub fn caller(&self) -> Option<&Identity> {
        match self {
            Self::Caller(identity) => Some(identity),
            Self::Anonymous(_) => None,
        }
    }

    /// Returns the token whose rate limit the call is charged to, if any.
    pub fn token(&self) -> Option<TokenId> {
        match self {
            Self::Caller(identity) => Some(identity.caller.token),
            Self::Anonymous(payer) => payer.service().map(|service| service.token),
        }
    }
}

/// A call after authentication.
#[derive(Debug)]
pub struct AuthenticatedCall {
    pub request: Request<axum::body::Body>,
    pub method: Option<&'static Method>,
    pub identity: CallIdentity,
    /// The time by which the response must be ready; for a stream, the time by which the stream must be open.
    pub deadline: Instant,
    /// The remaining rate limit of the token after this call; `None` without a token or a limit.
    pub rate_limit: Option<super::limits::RateLimitState>,
}
