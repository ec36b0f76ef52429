//! The unit of work of one write: its transaction, what it makes, and who asks for it.

use std::sync::Arc;

use parley_storage::entity::account;
use sea_orm::DatabaseTransaction;

use super::WriteSet;
use crate::auth::caller::Caller;

/// A transaction in which a verb runs. The account's counters are locked: nobody else writes to the account meanwhile.
#[derive(Debug)]
pub struct Write {
    /// The transaction. The writer commits it; the verb only uses it.
    pub txn: DatabaseTransaction,
    /// The numbers it gives out, and what it makes.
    pub ledger: WriteSet,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Messages that a conversation takes within a minute; 0: any number.
    pub(super) messages_per_minute: u32,
}

impl Write {
    /// The account.
    pub fn account(&self) -> &Arc<account::Model> {
        &self.ledger.account
    }
}
