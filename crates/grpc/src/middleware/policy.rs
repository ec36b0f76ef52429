//! Enforces the part of a method's policy that does not depend on the request: the kind of token, and read-only tokens. Access to accounts
//! and inboxes is checked in `domain`, where the account and inbox of a request are known.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready as answer_with};
use parley_domain::auth::caller::{BOT, Caller, OPERATOR, PLATFORM, Principal, READ_ONLY};
use parley_fault::Protection;
use parley_proto::{MethodCaller, policy::Method};
use parley_types::error::{Error, Result};
use tower::{Layer, Service};

use crate::status::to_status;

use super::{
    call::AuthenticatedCall,
    response::{Response, refuse},
};

/// Rejects callers whose kind of token the method does not accept. Calls to methods that need no token are not checked.
#[derive(Clone, Copy, Debug)]
pub struct Policy;

impl<S> Layer<S> for Policy {
    type Service = PolicyService<S>;

    fn layer(&self, inner: S) -> PolicyService<S> {
        PolicyService { inner }
    }
}

#[derive(Clone, Debug)]
pub struct PolicyService<S> {
    inner: S,
}

impl<S> Service<AuthenticatedCall> for PolicyService<S>
where
    S: Service<AuthenticatedCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<std::result::Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: AuthenticatedCall) -> Self::Future {
        if let Some(identity) = call.identity.caller()
            && let Err(error) = check(call.method, &identity.caller)
        {
            return Either::Right(answer_with(Ok(refuse(to_status(error)))));
        }
        Either::Left(self.inner.call(call))
    }
}

/// Checks that the method accepts the caller's kind of token. `method` is `None` if the contract does not define the path; in that case the
/// router responds with UNIMPLEMENTED.
///
/// # Errors
/// Returns [`Error::WrongToken`] for an agent bot's or the operator's token that the method does not accept, and [`Error::Denied`] if the
/// method is reserved for the operator, or if it writes and the token is read-only.
pub fn check(method: Option<&Method>, caller: &Caller) -> Result<()> {
    let is_bot = matches!(caller.principal, Principal::AgentBot(_));
    let Some(method) = method else {
        return if is_bot { Err(Error::WrongToken(BOT)) } else { Ok(()) };
    };
    if is_bot && !method.bots {
        return Err(Error::WrongToken(BOT));
    }
    match (method.caller, caller.is_platform()) {
        (MethodCaller::Member | MethodCaller::InboxMember | MethodCaller::Administrator, true) => return Err(Error::WrongToken(OPERATOR)),
        (MethodCaller::Operator, false) => return Err(Error::Denied(PLATFORM)),
        _ => {}
    }
    if caller.read_only && !method.is_read() && parley_fault::is_on(Protection::ReadOnly) {
        return Err(Error::Denied(READ_ONLY));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use parley_domain::auth::caller::Limits;
    use parley_proto::policy;
    use parley_types::id::TokenId;

    fn caller(principal: Principal, read_only: bool) -> Caller {
        Caller {
            token: TokenId(1),
            principal,
            read_only,
            accounts: HashMap::new(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn policy_decides_by_the_kind_of_token() {
        let service = || Principal::Service { name: String::new() };
        let refused = |path: &str, principal, read_only| check(policy::method(path), &caller(principal, read_only)).is_err();
        let (revoke, list) = ("parley.v1.AccountsService/RevokeToken", "parley.v1.LabelsService/ListLabels");
        assert!(refused(revoke, service(), true) && !refused(revoke, service(), false));
        assert!(!refused(list, service(), true));
        assert!(refused("parley.v1.AccountsService/ListTokens", service(), true));
        assert!(refused(list, Principal::Platform, false) && !refused(revoke, Principal::Platform, false));
        assert!(refused("parley.v1.AccountsService/CreateAccount", service(), false));
    }
}
