//! The layer that authenticates callers.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Extensions, HeaderMap};
use parley_admission::credential::secret;
use parley_proto::policy::Method;
use parley_types::error::Error;
use tokio::time::timeout_at;
use tonic::Code;
use tower::{Layer, Service};

use crate::status::{deadline_exceeded, to_status};

use super::{
    audit_event::AuditEvent,
    authenticator::Authenticator,
    call::{AuthenticatedCall, CallIdentity, RpcCall},
    deadline::deadline_of,
    identity::Identity,
    response::{Response, code, refuse},
};

/// Authenticates the caller. If the method needs no token, determines the address or service that the call is charged to instead.
///
/// Authentication may read the database, and the `Deadline` layer only starts below the rate limit, so this layer applies the call's
/// deadline itself. It is also the only layer that always awaits before it calls the inner service. It awaits an async function from
/// `domain` whose future type cannot be named, so this layer's future is boxed, unlike the futures of the other layers.
#[derive(Clone, Debug)]
pub struct Auth {
    authenticator: Arc<Authenticator>,
    max_duration: Duration,
}

impl Auth {
    /// Creates a layer that authenticates with `authenticator`. A unary call takes at most `max_duration`, or the client's timeout if that
    /// is shorter.
    pub fn new(authenticator: Arc<Authenticator>, max_duration: Duration) -> Self {
        Self {
            authenticator,
            max_duration,
        }
    }
}

impl<S> Layer<S> for Auth {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService { inner, auth: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct AuthService<S> {
    inner: S,
    auth: Auth,
}

impl<S> Service<RpcCall> for AuthService<S>
where
    S: Service<AuthenticatedCall, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: RpcCall) -> Self::Future {
        // Call the service that was polled for readiness, not the clone: the clone has not been polled.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let auth = self.auth.clone();
        Box::pin(auth.handle(inner, call))
    }
}

impl Auth {
    async fn handle<S>(self, mut inner: S, call: RpcCall) -> Result<Response, S::Error>
    where
        S: Service<AuthenticatedCall, Response = Response>,
    {
        let deadline = deadline_of(call.method, &call.request, self.max_duration);
        let (headers, extensions) = (call.request.headers(), call.request.extensions());
        let identified = timeout_at(deadline, self.identify(call.method, headers, extensions, call.audit.as_ref()));
        let identity = match identified.await {
            Ok(Ok(identity)) => identity,
            Ok(Err(error)) => {
                // Anyone can cause authentication failures, so the number of audit entries about them is bounded.
                if let Some(audit) = call.audit.filter(|_| self.authenticator.should_log()) {
                    audit.set_caller(None);
                }
                return Ok(refuse(to_status(error)));
            }
            Err(_) => {
                if let Some(audit) = call.audit {
                    audit.set_caller(None);
                }
                return Ok(refuse(deadline_exceeded()));
            }
        };
        if let Some(audit) = &call.audit {
            audit.set_caller(identity.caller().map(|identity| Arc::clone(&identity.caller)));
        }
        let payer = match &identity {
            CallIdentity::Caller(_) => None,
            CallIdentity::Anonymous(payer) => Some(payer.clone()),
        };
        let call = AuthenticatedCall {
            request: call.request,
            method: call.method,
            identity,
            deadline,
            rate_limit: None,
        };
        let answer = inner.call(call).await?;
        // The method needs no token, but the handler rejected the credential in the request: a pubsub token, a login or a signature.
        if let Some(payer) = payer
            && code(&answer) == Code::Unauthenticated
            && let Err(error) = self.authenticator.failed(&payer)
        {
            return Ok(refuse(to_status(error)));
        }
        Ok(answer)
    }

    /// Determines the caller. A path that the contract does not define requires a token. Takes the parts of the call rather than the whole
    /// call: a body is not `Sync`, so a future that borrows the whole call would not be `Send`.
    ///
    /// # Errors
    /// Returns [`Error::TokenMissing`] or [`Error::TokenInvalid`] if authentication fails, [`Error::QuotaExceeded`] if the address has too
    /// many failures or too many calls without a token, and [`Error::Database`] or [`Error::Unavailable`] if the token cannot be looked up.
    async fn identify(
        &self,
        method: Option<&'static Method>,
        headers: &HeaderMap,
        extensions: &Extensions,
        audit: Option<&Arc<AuditEvent>>,
    ) -> Result<CallIdentity, Error> {
        let secret = secret(headers);
        if method.is_some_and(|method| !method.needs_token()) {
            return self.authenticator.payer(extensions, secret).await.map(CallIdentity::Anonymous);
        }
        let caller = self.authenticator.authenticate(extensions, secret).await?;
        Ok(CallIdentity::Caller(Identity {
            caller,
            secret: secret.unwrap_or_default().into(),
            audit: audit.cloned(),
        }))
    }
}
