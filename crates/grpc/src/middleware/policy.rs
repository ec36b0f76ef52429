//! Enforces the policy of a method as far as it can be decided without the request: the kind of token, and read-only tokens. Which account and
//! which inbox a call is for is checked where they are known, in `chat`.

use parley_domain::auth::caller::{BOT, Caller, OPERATOR, PLATFORM, Principal, READ_ONLY};
use parley_fault::Protection;
use parley_proto::{MethodCaller, policy::Method};
use parley_types::error::{Error, Result};

/// Lets a caller with a token make a call. None stands for a method that the contract does not name, which is answered with UNIMPLEMENTED later.
///
/// # Errors
/// [`Error::WrongToken`] for a bot or the operator, [`Error::Denied`] for a read-only token or anyone but the operator, where the method is not
/// for them.
pub fn admit(method: Option<&Method>, caller: &Caller) -> Result<()> {
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
        let refused = |path: &str, principal, read_only| admit(policy::method(path), &caller(principal, read_only)).is_err();
        let (revoke, list) = ("parley.v1.AccountsService/RevokeToken", "parley.v1.LabelsService/ListLabels");
        assert!(refused(revoke, service(), true) && !refused(revoke, service(), false));
        assert!(!refused(list, service(), true));
        assert!(refused("parley.v1.AccountsService/ListTokens", service(), true));
        assert!(refused(list, Principal::Platform, false) && !refused(revoke, Principal::Platform, false));
        assert!(refused("parley.v1.AccountsService/CreateAccount", service(), false));
    }
}
