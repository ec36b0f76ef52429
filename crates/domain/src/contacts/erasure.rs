//! Erasing a contact: the copies that other tables hold of what it was and said, in the transaction of its deletion.
//!
//! Its own rows go by the verb (`contacts`), its events by `parley_eventlog::erasure`, and bytes in the store by the sweep of `files`. Here go the
//! stored replies of idempotent requests, the mails that were written about its
//! conversations, and what its sessions uploaded and no message has taken.

use parley_fault::Protection;
use parley_storage::entity::{attachment, contact_inbox, conversation};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId},
};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, ExprTrait as _,
    sea_query::{Expr, Query, SelectStatement},
};

use crate::files::rows;
use crate::{conversations::transcripts, write::idempotency};

/// Erases the copies. Call it while the contact's conversations are still there: mails are found by them.
///
/// # Errors
/// When the database fails.
pub(crate) async fn erase_copies(txn: &impl ConnectionTrait, account: AccountId, contact: ContactId) -> Result<()> {
    if !parley_fault::is_on(Protection::ErasedCopies) {
        return Ok(());
    }
    transcripts::redact(txn, account, conversations(account, contact)).await?;
    idempotency::erase(txn, account, contact).await?;
    let waiting = attachment::Column::AccountId
        .eq(account)
        .and(attachment::Column::ContactInboxId.in_subquery(sessions(account, contact)));
    rows::release(txn, waiting).await
}

/// The ids of a contact's sessions.
fn sessions(account: AccountId, contact: ContactId) -> SelectStatement {
    let mut ids = Query::select();
    ids.column(contact_inbox::Column::Id)
        .from(contact_inbox::Entity)
        .and_where(Expr::col(contact_inbox::Column::AccountId).eq(account.0))
        .and_where(Expr::col(contact_inbox::Column::ContactId).eq(contact.0));
    ids
}

/// The ids of a contact's conversations.
fn conversations(account: AccountId, contact: ContactId) -> SelectStatement {
    let mut ids = Query::select();
    ids.column(conversation::Column::Id)
        .from(conversation::Entity)
        .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
        .and_where(Expr::col(conversation::Column::ContactId).eq(contact.0));
    ids
}
