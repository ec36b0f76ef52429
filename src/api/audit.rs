//! Who administered what: a line of the log for every call that changes who may do what, or takes something away for good.

use std::sync::Arc;

use tonic::Code;

use super::{layers::Identity, meter::code_name};

/// The target of these lines, by which `log.filter` finds them.
pub const TARGET: &str = "parley::audit";

/// Services whose changes are told.
const SERVICES: [&str; 6] = [
    "parley.v1.AccountsService/",
    "parley.v1.AgentBotsService/",
    "parley.v1.ConsumersService/",
    "parley.v1.InboxesService/",
    "parley.v1.LoginsService/",
    "parley.v1.TeamsService/",
];

/// Calls of other services that are told.
const CALLS: [&str; 3] = [
    "parley.v1.ContactsService/DeleteContact",
    "parley.v1.ContactsService/MergeContacts",
    "parley.v1.ConversationsService/DeleteConversation",
];

/// What the names of calls begin with that change nothing.
const READS: [&str; 2] = ["Get", "List"];

/// Whether a call, `parley.v1.Service/Call`, is told.
pub fn is_told(method: &str) -> bool {
    let Some((_, call)) = method.split_once('/') else { return false };
    let administers = SERVICES.iter().any(|service| method.starts_with(service)) && !READS.iter().any(|read| call.starts_with(read));
    administers || CALLS.contains(&method)
}

/// A call that will be told once it is answered.
#[derive(Debug)]
pub struct Asked {
    call: String,
    identity: Option<Identity>,
}

impl Asked {
    /// A call by its path, if it is one that is told.
    pub fn of(method: &str, identity: Option<&Identity>) -> Option<Self> {
        is_told(method).then(|| Self {
            call: method.to_owned(),
            identity: identity.cloned(),
        })
    }

    /// Tells how it was answered.
    pub fn audit(&self, code: Code) {
        let who = self
            .identity
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), |identity| identity.caller.to_string());
        let token = self.identity.as_ref().map(|identity| identity.caller.token.0);
        let account = self
            .identity
            .as_ref()
            .and_then(|identity| identity.account.get())
            .map(|account| account.0);
        tracing::info!(target: TARGET, call = %self.call, %who, token, account, code = code_name(code), "administered");
    }
}

impl Identity {
    /// Notes which account the call is about, for whoever tells of it.
    pub fn concerns(&self, account: crate::id::AccountId) {
        // The first one counts: it is what the request names.
        let _ = Arc::as_ref(&self.account).set(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_who_may_do_what_are_told() {
        for told in [
            "AccountsService/CreateToken",
            "InboxesService/SetInboxMembers",
            "ContactsService/DeleteContact",
        ] {
            assert!(is_told(&format!("parley.v1.{told}")), "{told}");
        }
        for quiet in [
            "AccountsService/ListTokens",
            "MessagesService/CreateMessage",
            "ContactsService/UpdateContact",
            "",
        ] {
            assert!(!is_told(&format!("parley.v1.{quiet}")), "{quiet}");
        }
    }
}
