//! Erases copies of a contact's data from other tables, in the transaction that deletes the contact.
//!
//! `contacts` deletes the contact's own rows, `parley_eventlog::erasure` erases its events, and a background job of `files` removes the
//! stored files. This module erases the stored responses to idempotent requests, the e-mails about the contact's conversations, and those
//! uploads by the contact's sessions that were not attached to a message.

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

/// Erases copies of a contact's data from other tables. Must be called before the contact's conversations are deleted, because they are
/// needed to find the e-mails about them.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a statement fails.
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

/// Returns a query for the ids of a contact's sessions.
fn sessions(account: AccountId, contact: ContactId) -> SelectStatement {
    let mut ids = Query::select();
    ids.column(contact_inbox::Column::Id)
        .from(contact_inbox::Entity)
        .and_where(Expr::col(contact_inbox::Column::AccountId).eq(account.0))
        .and_where(Expr::col(contact_inbox::Column::ContactId).eq(contact.0));
    ids
}

/// Returns a query for the ids of a contact's conversations.
fn conversations(account: AccountId, contact: ContactId) -> SelectStatement {
    let mut ids = Query::select();
    ids.column(conversation::Column::Id)
        .from(conversation::Entity)
        .and_where(Expr::col(conversation::Column::AccountId).eq(account.0))
        .and_where(Expr::col(conversation::Column::ContactId).eq(contact.0));
    ids
}
