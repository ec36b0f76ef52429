//! The authenticated caller, which handlers read from the extensions of a request.

use std::sync::Arc;

use parley_domain::auth::caller::Caller;
use parley_types::id::AccountId;

use super::audit_event::{AuditEvent, AuditTarget};

/// The caller of a request. Present in the extensions of every request whose method needs a token.
#[derive(Clone, Debug)]
pub struct Identity {
    pub caller: Arc<Caller>,
    /// The token of the caller. An open stream authenticates it again periodically.
    pub secret: Arc<str>,
    /// The audit event of the call; present if the method is audited.
    pub audit: Option<Arc<AuditEvent>>,
}

impl Identity {
    /// Sets the target of the audit event. Only the first call has an effect, so the target remains the resource that the request names.
    /// Account 0 means "outside all accounts" and is recorded as no account.
    pub fn set_audit_target(&self, account: Option<AccountId>, resource: Option<(&'static str, i64)>) {
        if let Some(audit) = &self.audit {
            let account = account.filter(|account| account.0 != 0);
            audit.set_target(AuditTarget { account, resource });
        }
    }
}
