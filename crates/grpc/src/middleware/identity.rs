//! The authenticated caller, as handlers find it in the extensions of a request.

use std::sync::Arc;

use parley_domain::auth::caller::Caller;
use parley_types::id::AccountId;

use super::audit_event::{AuditEvent, AuditTarget};

/// Who calls; an extension of every request whose method needs a token.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The token: an open stream authenticates it again from time to time.
    pub secret: Arc<str>,
    /// Present if the method is audited.
    pub audit: Option<Arc<AuditEvent>>,
}

impl Identity {
    /// Sets what the audit event names as the target of the call. The first target stays: it is what the request names. Account 0 stands for
    /// things outside of all accounts and is recorded as no account.
    pub fn set_audit_target(&self, account: Option<AccountId>, resource: Option<(&'static str, i64)>) {
        if let Some(audit) = &self.audit {
            let account = account.filter(|account| account.0 != 0);
            audit.set_target(AuditTarget { account, resource });
        }
    }
}
