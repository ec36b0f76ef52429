//! The policies of methods for the tests: lookup by `Service.Method`, descriptions for the page, and the callers that they refuse.

use parley_proto::{
    MethodCaller, MethodCredential, MethodEffect,
    policy::{METHODS, Method},
};

/// The kinds of callers that the tests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Without a token.
    Nobody,
    /// With a token that was never created.
    Unknown,
    /// A read-only service of the account.
    ReadOnlyService,
    /// A read-only token of an administrator.
    ReadOnlyAdministrator,
    /// A service that is limited to another inbox.
    ScopedService,
    /// An administrator of another account.
    Stranger,
    /// An agent of the account who is not a member of the inbox.
    Agent,
    /// An administrator of the account.
    Administrator,
    /// A bot that is connected to the inbox.
    Bot,
    /// The operator.
    Operator,
    /// The operator with a read-only token.
    ReadOnlyOperator,
}

/// The name of a method as `Service.Method`, as the documentation uses it.
pub fn name(method: &Method) -> String {
    let service = method.service.rsplit('.').next().unwrap_or_default();
    format!("{service}.{}", method.call)
}

/// The method with this name.
pub fn named(call: &str) -> &'static Method {
    let found = METHODS.iter().find(|method| name(method) == call);
    found.unwrap_or_else(|| panic!("the contract has no {call}"))
}

/// A description of who may call the method.
pub fn words(method: &Method) -> &'static str {
    match method.caller {
        MethodCaller::Unspecified => "nobody",
        MethodCaller::CredentialHolder => match method.credential {
            MethodCredential::Unspecified => "nobody",
            MethodCredential::Inbox => "anyone who names the inbox by its identifier",
            MethodCredential::Session => "anyone who names the session by its inbox identifier and source id",
            MethodCredential::FileLink => "anyone who has the signed link",
            MethodCredential::LoginLink => "anyone who has the secret of the login link",
            MethodCredential::PubsubToken => "anyone who has the pubsub token",
        },
        MethodCaller::Owner => "the user or service itself, for its own resources; the operator, for all",
        MethodCaller::Member => "members of the account, services",
        MethodCaller::MemberOrOperator => "members of the account, services, the operator",
        MethodCaller::InboxMember => "members of the inbox, administrators, services of the inbox",
        MethodCaller::Administrator => "administrators, services that are not limited to inboxes",
        MethodCaller::AdministratorOrOperator => "administrators, services that are not limited to inboxes, the operator",
        MethodCaller::Operator => "the operator",
        MethodCaller::OwnerOrAdministrator => {
            "the user or service itself, for its own resources; administrators and services that are not limited to inboxes, for their account; the operator, for all"
        }
    }
}

/// A description of whether read-only tokens may call the method.
pub fn effect(method: &Method) -> &'static str {
    match (method.needs_token(), method.effect) {
        (false, MethodEffect::Write) => "writes",
        (false, _) => "reads",
        (true, MethodEffect::Read) => "reads; read-only tokens too",
        (true, MethodEffect::ReadSensitive) => "reads; no read-only tokens",
        (true, _) => "writes; no read-only tokens",
    }
}

/// Whether the policy refuses a caller regardless of the request, for ids that belong to the account and the inbox.
pub fn refuses(method: &Method, who: Who) -> bool {
    use MethodCaller as Caller;
    if !method.needs_token() {
        return false;
    }
    // The generated request of CreateToken names both a user and a bot, so it is refused for that reason.
    let others_tokens = method.caller == Caller::OwnerOrAdministrator && method.call != "CreateToken";
    let administers = others_tokens || matches!(method.caller, Caller::Administrator | Caller::AdministratorOrOperator);
    match who {
        Who::Nobody | Who::Unknown => true,
        Who::Stranger => method.caller != Caller::Owner && method.call != "CreateToken",
        Who::ReadOnlyService | Who::ReadOnlyAdministrator => !method.is_read() || method.caller == Caller::Operator,
        Who::ReadOnlyOperator => !method.is_read() || is_within_accounts(method),
        Who::ScopedService | Who::Agent => administers || matches!(method.caller, Caller::InboxMember | Caller::Operator),
        Who::Administrator => method.caller == Caller::Operator,
        Who::Bot => !method.bots,
        Who::Operator => is_within_accounts(method),
    }
}

fn is_within_accounts(method: &Method) -> bool {
    matches!(
        method.caller,
        MethodCaller::Member | MethodCaller::InboxMember | MethodCaller::Administrator
    )
}
