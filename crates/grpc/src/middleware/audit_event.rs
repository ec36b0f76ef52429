//! The audit event of a call: one log line and one stored event for each call to a method whose policy marks it as audited.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::extract::ConnectInfo;
use http::Request;
use parley_domain::{
    audit::{AuditLog, NewAuditEvent},
    auth::caller::Caller,
};
use parley_proto::policy::Method;
use parley_types::id::AccountId;
use tonic::Code;

use crate::meter::code_name;

/// The `tracing` target of audit lines, which `log.filter` can select.
pub const TARGET: &str = "parley::audit";

/// The account and the resource that an audited call acts on.
#[derive(Clone, Copy, Debug)]
pub struct AuditTarget {
    /// The account, or `None` if the call does not act on one.
    pub account: Option<AccountId>,
    /// The request field that identifies a single resource, and its value.
    pub resource: Option<(&'static str, i64)>,
}

/// The data collected about an audited call. `Audit` creates the event, and writes it when the call ends. In between, `Auth` sets the
/// caller and the handler sets the target, each at most once and through a shared reference.
#[derive(Debug)]
pub struct AuditEvent {
    method: &'static str,
    peer: Option<SocketAddr>,
    /// Unset until authentication has finished. After that, the caller, or `None` if the call had no valid token.
    caller: OnceLock<Option<Arc<Caller>>>,
    target: OnceLock<AuditTarget>,
}

impl AuditEvent {
    /// Creates the event of a call, or returns `None` if its method is not audited.
    pub fn of<B>(method: Option<&'static Method>, request: &Request<B>) -> Option<Self> {
        let method = method.filter(|method| method.audited)?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Some(Self {
            method: method.path,
            peer: peer.map(|from| from.0),
            caller: OnceLock::new(),
            target: OnceLock::new(),
        })
    }

    /// Sets the caller after authentication. An event whose caller was never set is not written, however the call ends.
    pub fn set_caller(&self, caller: Option<Arc<Caller>>) {
        // The result is ignored because only the authentication layer calls this, once per call.
        let _ = self.caller.set(caller);
    }

    /// Sets what the audited call acts on. Only the first call of this method has an effect.
    pub fn set_target(&self, target: AuditTarget) {
        let _ = self.target.set(target);
    }

    /// Writes the log line and queues the event for storage in `log`.
    pub fn write(&self, log: &AuditLog, code: Code, message: &str) {
        let Some(caller) = self.caller.get() else { return };
        self.write_line(caller.as_deref(), code, message);
        self.store(log, caller.as_deref(), code);
    }

    fn write_line(&self, caller: Option<&Caller>, code: Code, message: &str) {
        let who = caller.map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let token = caller.map(|caller| caller.token.0);
        let target = self.target.get();
        let account = target.and_then(|target| target.account).map(|account| account.0);
        let resource = target.and_then(|target| target.resource).map(|(field, id)| format!("{field}={id}"));
        let peer = self.peer.map(tracing::field::display);
        tracing::info!(target: TARGET, call = %self.method, %who, token, peer, account, resource, code = code_name(code), "{message}");
    }

    /// Queues the event for storage in `log`. Anyone can make failing calls without a valid token and could fill the table with their
    /// events, so only a bounded number of these events is stored.
    fn store(&self, log: &AuditLog, caller: Option<&Caller>, code: Code) {
        let target = self.target.get();
        // A call that was rejected before its request was decoded has no target. Attribute it to the caller's account if the caller has
        // exactly one account.
        let only_account = || {
            let accounts = &caller?.accounts;
            accounts.keys().next().copied().filter(|_| accounts.len() == 1)
        };
        let account = target.map_or_else(only_account, |target| target.account);
        let event = NewAuditEvent {
            account,
            actor: caller.map(|caller| caller.actor(account.unwrap_or(AccountId(0)))),
            token: caller.map(|caller| caller.token),
            method: self.method,
            resource: target.and_then(|target| target.resource),
            peer: self.peer.map(|peer| peer.ip()),
            code: code.into(),
        };
        if caller.is_none() && code != Code::Ok {
            log.record_stranger(event);
        } else {
            log.record(event);
        }
    }
}
