//! Decides which contacts, and which of their sessions, a caller can see. All operations use these checks.

use parley_fault::Protection;
use parley_storage::{
    entity::{contact, contact_inbox},
    joined::ContactSessions,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, InboxId},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter, QuerySelect,
    sea_query::{Expr, Query},
};

use crate::auth::caller::Access;

/// Returns a condition on the table `contacts` that matches the contacts that the caller can see.
pub(crate) fn seen(access: &Access, account: AccountId) -> Condition {
    let session = access.contact_inboxes().map(|inboxes| {
        let mut sessions = Query::select();
        sessions
            .expr(Expr::val(1))
            .from(contact_inbox::Entity)
            .and_where(Expr::col((contact_inbox::Entity, contact_inbox::Column::AccountId)).eq(account.0))
            .and_where(Expr::col((contact_inbox::Entity, contact_inbox::Column::ContactId)).equals((contact::Entity, contact::Column::Id)))
            .and_where(Expr::col((contact_inbox::Entity, contact_inbox::Column::InboxId)).is_in(inboxes.iter().map(|id| id.0)))
            .cond_where(contact_inbox::opens_contact());
        Expr::exists(sessions)
    });
    Condition::all().add_option(session)
}

/// Checks that the caller can see a contact. If the caller can see all contacts, does not check whether the contact exists.
///
/// # Errors
/// [`Error::NotFound`] if no session in the caller's inboxes makes the contact visible.
pub(crate) async fn check(db: &impl ConnectionTrait, access: &Access, account: AccountId, contact: ContactId) -> Result<()> {
    let Some(inboxes) = access.contact_inboxes() else { return Ok(()) };
    let theirs = contact_inbox::Column::InboxId.is_in(inboxes.iter().map(|id| id.0));
    if session_in(
        db,
        account,
        contact,
        Condition::all().add(contact_inbox::opens_contact()).add(theirs),
    )
    .await?
    {
        Ok(())
    } else {
        Err(Error::not_found("contact", contact))
    }
}

/// Returns whether a contact has a session in an inbox that the caller cannot see.
pub(crate) async fn reaches_beyond(db: &impl ConnectionTrait, access: &Access, account: AccountId, contact: ContactId) -> Result<bool> {
    let Some(inboxes) = &access.inboxes else { return Ok(false) };
    session_in(
        db,
        account,
        contact,
        Condition::all().add(contact_inbox::Column::InboxId.is_not_in(inboxes.iter().map(|id| id.0))),
    )
    .await
}

async fn session_in(db: &impl ConnectionTrait, account: AccountId, contact: ContactId, which: Condition) -> Result<bool> {
    let found: Option<i64> = contact_inbox::Entity::find()
        .select_only()
        .column(contact_inbox::Column::Id)
        .filter(contact_inbox::Column::AccountId.eq(account))
        .filter(contact_inbox::Column::ContactId.eq(contact))
        .filter(which)
        .into_tuple()
        .one(db)
        .await?;
    Ok(found.is_some())
}

/// Returns the inboxes whose sessions the caller can see, or `None` if the caller can see all. Access to sessions is restricted because the
/// source id of a session is a credential for the client API.
pub(crate) fn session_inboxes(access: &Access) -> Option<&[InboxId]> {
    access.inboxes.as_deref().filter(|_| parley_fault::is_on(Protection::SessionScope))
}

/// Removes those sessions of a contact that the caller cannot see.
pub(crate) fn shown(mut contact: ContactSessions, access: &Access) -> ContactSessions {
    if let Some(inboxes) = session_inboxes(access) {
        contact.keep_sessions_of(inboxes);
    }
    contact
}
