//! The type that represents an authenticated contact session.

use std::sync::Arc;

use parley_storage::joined::Client;
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactInboxId},
};

use crate::auth::caller::{Caller, SessionScope};

/// An authenticated contact session.
#[derive(Clone, Debug)]
pub struct ContactSession {
    /// The session with its inbox and contact. It comes from a cache and can be a few seconds old.
    pub client: Client,
    /// The caller that represents the contact, limited to the conversations that the session can access.
    pub caller: Arc<Caller>,
}

impl ContactSession {
    /// Returns the same session with additional access to the conversations of the sessions in `others`.
    pub(super) fn reaching(&self, others: Vec<ContactInboxId>) -> Result<Self> {
        let mut caller = Caller::clone(&self.caller);
        let account = self.account();
        let access = caller.accounts.get_mut(&account).ok_or(Error::NotMember(account))?;
        access.session_scope = Some(SessionScope {
            session: self.client.row.id,
            others,
        });
        Ok(Self {
            client: self.client.clone(),
            caller: Arc::new(caller),
        })
    }

    /// Returns the sessions whose conversations this session can access in addition to its own.
    pub fn others(&self) -> &[ContactInboxId] {
        let access = self.caller.accounts.get(&self.account());
        let scope = access.and_then(|access| access.session_scope.as_ref());
        scope.map(|scope| scope.others.as_slice()).unwrap_or_default()
    }

    pub fn account(&self) -> AccountId {
        self.client.row.account_id
    }
}
