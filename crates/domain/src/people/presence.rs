//! Presence: when users and contacts were last seen. Presence is not recorded in events, and repeated reports within a short time are not
//! stored.

use std::{sync::Arc, time::Duration};

use parley_eventlog::cursor::Cursor;
use parley_fault::Protection;
use parley_storage::{
    Database,
    entity::{
        kind::{Availability, PresenceKind},
        membership, presence,
    },
    joined::shown,
    load, present,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, ContactId, UserId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};

use crate::{auth::caller::Caller, context::Context};

/// The minimum time between two stored presence reports of the same user or contact.
const FRESH: Duration = Duration::from_secs(5);
/// The precision with which memberships store when their user was last active.
const ACTIVE: Duration = Duration::from_mins(10);

/// The minimum difference between the activity times of a user's most recently active membership and the one before it.
const TICK: Duration = Duration::from_micros(1);

/// Returns whether the use of a token counts as activity of the user. While a membership is unconfirmed, using a token that is limited to
/// the account does not count, because that would confirm the membership.
fn counts(row: &membership::Model, in_person: bool) -> bool {
    in_person || !row.is_unconfirmed() || !parley_fault::is_on(Protection::TokenLimits)
}

/// Operations on the presence of users and contacts.
#[derive(Clone, Debug)]
pub struct Presence {
    context: Arc<Context>,
}

impl Presence {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Records that the caller or, if `contact` is set, the contact on whose behalf it calls is online. Returns the head of the log.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such contact, and [`Error::Invalid`] if the caller is not a user and names no contact.
    pub async fn report(&self, caller: &Caller, account: AccountId, contact: Option<ContactId>) -> Result<Cursor> {
        caller.write_access(account)?;
        let (kind, id) = match (contact, caller.user_id()) {
            (Some(contact), _) => {
                load::contact(self.context.db.read(), account, contact).await?;
                (PresenceKind::Contact, contact.0)
            }
            (None, Some(user)) => (PresenceKind::User, user.0),
            (None, None) => {
                let text = "must be given unless the caller is a user";
                return Err(Error::invalid("contact_id", Rule::Required, text));
            }
        };
        self.record(account, kind, id, caller.limits.account.is_none()).await?;
        let range = self.context.events.log.range(account).await?;
        Ok(range.head_cursor())
    }

    /// Records that a user or a contact is online, unless that was recorded within `FRESH`. `in_person` is false for a token that is
    /// limited to the account: an administrator of the account could have created it, so its use does not confirm a membership.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a query fails.
    pub async fn record(&self, account: AccountId, kind: PresenceKind, id: i64, in_person: bool) -> Result<()> {
        use presence::Column;
        let now = Micros::now();
        let known = present::seen(self.context.db.read(), account, kind, [id].into_iter()).await?;
        if known.get(&id).is_some_and(|at| *at > now.minus(FRESH)) {
            return Ok(());
        }
        let row = presence::ActiveModel {
            account_id: Set(account),
            kind: Set(kind),
            id: Set(id),
            seen_at: Set(now),
        };
        presence::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::AccountId, Column::Kind, Column::Id])
                    .update_column(Column::SeenAt)
                    .to_owned(),
            )
            .exec_without_returning(self.context.db.write())
            .await?;
        match kind {
            PresenceKind::User => self.record_activity(account, UserId(id), now, in_person).await,
            PresenceKind::Contact => Ok(()),
        }
    }

    /// Records that a user was active in an account, unless that was recorded within [`ACTIVE`].
    async fn record_activity(&self, account: AccountId, user: UserId, now: Micros, in_person: bool) -> Result<()> {
        let known = membership::Entity::find_by_id((account, user)).one(self.context.db.read()).await?;
        let stale = |row: membership::Model| counts(&row, in_person) && row.active_at.is_none_or(|at| at < now.minus(ACTIVE));
        if known.is_some_and(stale) {
            self.set_active_at(account, user, now).await?;
        }
        Ok(())
    }

    async fn set_active_at(&self, account: AccountId, user: UserId, at: Micros) -> Result<()> {
        use membership::Column;
        membership::Entity::update_many()
            .col_expr(Column::ActiveAt, Expr::value(at.0))
            .filter(Column::AccountId.eq(account))
            .filter(Column::UserId.eq(user))
            .exec(self.context.db.write())
            .await?;
        Ok(())
    }

    /// Records that a user has switched to an account. Does nothing if the user's most recent activity was in this account and was recorded
    /// within [`ACTIVE`].
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a query fails.
    pub(crate) async fn record_active_account(&self, account: AccountId, user: UserId, in_person: bool) -> Result<()> {
        let rows = membership::Entity::find()
            .filter(membership::Column::UserId.eq(user))
            .all(self.context.db.read())
            .await?;
        let (now, here) = (Micros::now(), |row: &&membership::Model| row.account_id == account);
        let Some(row) = rows.iter().find(here) else { return Ok(()) };
        let last = rows.iter().filter(|row| !here(row)).filter_map(|row| row.active_at).max();
        let is_known = row
            .active_at
            .is_some_and(|at| at > now.minus(ACTIVE) && last.is_none_or(|last| at > last));
        if is_known || !counts(row, in_person) {
            return Ok(());
        }
        self.set_active_at(account, user, now.max(last.map_or(now, |last| last.plus(TICK))))
            .await
    }

    /// Returns a user's availability as others see it in each of the user's given memberships, in the same order.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a query fails.
    pub async fn shown_availability(&self, memberships: &[&membership::Model]) -> Result<Vec<Availability>> {
        use presence::Column;
        let Some(first) = memberships.first() else {
            return Ok(Vec::new());
        };
        let rows = presence::Entity::find()
            .filter(Column::AccountId.is_in(memberships.iter().map(|row| row.account_id.0)))
            .filter(Column::Kind.eq(PresenceKind::User))
            .filter(Column::Id.eq(first.user_id.0))
            .all(self.context.db.read())
            .await?;
        let now = Micros::now();
        let seen = |row: &membership::Model| rows.iter().find(|seen| seen.account_id == row.account_id).map(|seen| seen.seen_at);
        Ok(memberships.iter().map(|row| shown(row, seen(row), now)).collect())
    }
}

/// Deletes outdated presence rows and returns how many were deleted.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn forget_absent(db: &Database) -> Result<u64> {
    let before = Micros::now().minus(present::WINDOW * 3);
    let gone = presence::Entity::delete_many()
        .filter(presence::Column::SeenAt.lt(before))
        .exec(db.write())
        .await?;
    Ok(gone.rows_affected)
}
