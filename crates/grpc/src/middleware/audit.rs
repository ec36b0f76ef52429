//! Who administered what: a line of the log and a stored event for every call of a method whose policy says that it is audited.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::ConnectInfo;
use http::Request;
use parley_domain::audit::{AuditLog, NewAuditEvent};
use parley_proto::policy::Method;
use parley_types::id::AccountId;
use tonic::Code;

use super::layers::Identity;
use crate::meter::code_name;

/// The target of these lines, by which `log.filter` finds them.
pub const TARGET: &str = "parley::audit";

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
    call: &'static str,
    identity: Option<Identity>,
    peer: Option<SocketAddr>,
    log: AuditLog,
}

impl Asked {
    /// A call, if its method is audited.
    pub fn of<B>(method: Option<&'static Method>, request: &Request<B>, identity: Option<&Identity>, log: &AuditLog) -> Option<Self> {
        let method = method.filter(|method| method.audited)?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Some(Self {
            call: method.path,
            identity: identity.cloned(),
            peer: peer.map(|from| from.0),
            log: log.clone(),
        })
    }

    /// Tells how it was answered.
    pub fn audit(&self, code: Code) {
        self.line(code, "administered");
        self.store(code);
    }

    /// Tells that its caller went before it was answered.
    pub fn gave_up(&self) {
        self.line(Code::Cancelled, "its caller went before the answer: it may have been done, or not");
        self.store(Code::Cancelled);
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

    /// Stores the event. Of refused calls without a token a bounded number is stored: strangers could fill the table with them.
    fn store(&self, code: Code) {
        let caller = self.identity.as_ref().map(|identity| &identity.caller);
        let about = self.identity.as_ref().and_then(|identity| identity.about.get());
        // A call that was refused before its request was read is about the caller's account, where there is only one.
        let only = || {
            let accounts = &caller?.accounts;
            accounts.keys().next().copied().filter(|_| accounts.len() == 1)
        };
        let account = about.map_or_else(only, |about| about.account);
        let event = NewAuditEvent {
            account,
            actor: caller.map(|caller| caller.actor(account.unwrap_or(AccountId(0)))),
            token: caller.map(|caller| caller.token),
            method: self.call,
            resource: about.and_then(|about| about.resource),
            peer: self.peer.map(|peer| peer.ip()),
            code: code.into(),
        };
        if self.identity.is_none() && code != Code::Ok {
            self.log.record_stranger(event);
        } else {
            self.log.record(event);
        }
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
