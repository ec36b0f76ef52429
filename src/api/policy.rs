//! Enforces the policy of a method as far as it can be decided without the request: the kind of token, and read-only tokens. Which account and
//! which inbox a call is for is checked where they are known, in `chat`.

use crate::{
    chat::caller::{BOT, Caller, OPERATOR, PLATFORM, Principal, READ_ONLY},
    error::{Error, Result},
    fault::{self, Protection},
    pb::{MethodCaller, policy::Method},
};

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
    if caller.read_only && !method.is_read() && fault::is_on(Protection::MethodPolicy) {
        return Err(Error::Denied(READ_ONLY));
    }
    Ok(())
}
