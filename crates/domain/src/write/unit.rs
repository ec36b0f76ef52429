//! The unit of work of one operation: its transaction, its write set and its caller.

use std::sync::Arc;

use parley_storage::entity::account;
use sea_orm::DatabaseTransaction;

use super::WriteSet;
use crate::auth::caller::Caller;

/// The transaction in which an operation runs. The account's counters are locked, so no other write to the account can commit before it
/// ends.
#[derive(Debug)]
pub struct Write {
    /// The database transaction. The writer commits it; an operation only runs statements in it.
    pub txn: DatabaseTransaction,
    /// Allocates ids and collects the rows and events of the operation.
    pub set: WriteSet,
    /// The caller of the operation.
    pub caller: Arc<Caller>,
}

impl Write {
    /// Returns the account that the operation writes to.
    pub fn account(&self) -> &Arc<account::Model> {
        &self.set.account
    }
}
