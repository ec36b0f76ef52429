//! Who administered what: a line of the log for every call that changes who may do what, or takes something away for good.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::ConnectInfo;
use http::Request;
use tonic::Code;

use super::{layers::Identity, meter::code_name};
use crate::id::AccountId;

/// The target of these lines, by which `log.filter` finds them.
pub const TARGET: &str = "parley::audit";

/// Services whose changes are told.
const SERVICES: [&str; 7] = [
    "parley.v1.AccountsService/",
    "parley.v1.AgentBotsService/",
    "parley.v1.ConsumersService/",
    "parley.v1.InboxesService/",
    "parley.v1.LabelsService/",
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

/// Whether a call, `parley.v1.Service/Call`, leaves a line. A test holds this against the table of permissions.
pub fn is_told(method: &str) -> bool {
    let Some((_, call)) = method.split_once('/') else { return false };
    let administers = SERVICES.iter().any(|service| method.starts_with(service)) && !READS.iter().any(|read| call.starts_with(read));
    administers || CALLS.contains(&method)
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The account, if it is about one.
    pub account: Option<AccountId>,
    /// The field of the request that names one thing, and what it says.
    pub resource: Option<(&'static str, i64)>,
}

/// A call that will be told once it is answered.
#[derive(Debug)]
pub struct Asked {
    call: String,
    identity: Option<Identity>,
    peer: Option<SocketAddr>,
}

impl Asked {
    /// A call, if it is one that is told.
    pub fn of<B>(request: &Request<B>, identity: Option<&Identity>) -> Option<Self> {
        let method = request.uri().path().trim_start_matches('/');
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        is_told(method).then(|| Self {
            call: method.to_owned(),
            identity: identity.cloned(),
            peer: peer.map(|from| from.0),
        })
    }

    /// Tells how it was answered.
    pub fn audit(&self, code: Code) {
        self.line(code, "administered");
    }

    /// Tells that its caller went before it was answered.
    pub fn gave_up(&self) {
        self.line(Code::Cancelled, "its caller went before the answer: it may have been done, or not");
    }

    fn line(&self, code: Code, said: &str) {
        let caller = self.identity.as_ref().map(|identity| &identity.caller);
        let who = caller.map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let token = caller.map(|caller| caller.token.0);
        let about = self.identity.as_ref().and_then(|identity| identity.about.get());
        let account = about.and_then(|about| about.account).map(|account| account.0);
        let resource = about.and_then(|about| about.resource).map(|(field, id)| format!("{field}={id}"));
        let peer = self.peer.map(tracing::field::display);
        tracing::info!(target: TARGET, call = %self.call, %who, token, peer, account, resource, code = code_name(code), "{said}");
    }
}

impl Identity {
    /// Notes what the call is about, for whoever tells of it.
    pub fn concerns(&self, account: Option<AccountId>, resource: Option<(&'static str, i64)>) {
        // What lies outside of all accounts goes by 0.
        let account = account.filter(|account| account.0 != 0);
        // The first one counts: it is what the request names.
        let _ = Arc::as_ref(&self.about).set(About { account, resource });
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
