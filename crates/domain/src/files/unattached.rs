//! Defines the lifetime of unattached uploads, and enforces quotas on them.

use std::time::Duration;

use parley_admission::rate_limit::Exceeded;
use parley_storage::{
    Database,
    entity::{attachment, kind::AttachmentState},
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactInboxId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Alias, Expr, ExprTrait as _, Func},
};

/// The lifetime of an unattached upload by a member, a bot or a service.
const KEPT: Duration = Duration::from_hours(24);

/// The lifetime of an unattached upload by a contact session. A visitor's client uploads a file just before it sends the message, so
/// minutes are enough.
const KEPT_OF_SESSION: Duration = Duration::from_mins(10);

/// The retry delay that is reported when a quota is exhausted. By then, uploads may have been attached or have expired.
const RETRY: Duration = Duration::from_mins(1);

/// Quotas for unattached uploads, in bytes. 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattached {
    /// The quota for each contact session.
    pub of_session: u64,
    /// The quota for all contact sessions of an account together.
    pub of_sessions: u64,
    /// The quota for all members, bots and services of an account together.
    pub of_members: u64,
}

/// Returns a condition that matches unattached uploads that have expired.
pub fn expired(now: Micros) -> Condition {
    use attachment::Column;
    let of = |session: Condition, life| session.add(Column::CreatedAt.lt(now.minus(life)));
    let of_session = of(Condition::all().add(Column::ContactInboxId.is_not_null()), KEPT_OF_SESSION);
    let of_members = of(Condition::all().add(Column::ContactInboxId.is_null()), KEPT);
    Condition::all()
        .add(Column::State.eq(AttachmentState::Uploaded))
        .add(Condition::any().add(of_session).add(of_members))
}

impl Unattached {
    /// Returns the number of bytes that may still be uploaded within the quotas. Uploads in progress are not counted until they are
    /// complete, so together they can exceed a quota; the limit on concurrent uploads bounds the excess.
    ///
    /// # Errors
    /// Returns [`Error::QuotaExceeded`](parley_types::error::Error::QuotaExceeded) if a quota is exhausted, and
    /// [`Error::Database`](parley_types::error::Error::Database) if a query fails.
    pub async fn left(&self, db: &Database, account: AccountId, session: Option<ContactInboxId>) -> Result<u64> {
        use attachment::Column;
        let mut left = u64::MAX;
        let quotas = match session {
            Some(session) => [
                ("session", self.of_session, Some(Column::ContactInboxId.eq(session.0))),
                ("account", self.of_sessions, Some(Column::ContactInboxId.is_not_null())),
            ],
            None => [
                ("account", self.of_members, Some(Column::ContactInboxId.is_null())),
                ("account", 0, None),
            ],
        };
        for (scope, quota, whose) in quotas {
            if quota == 0 {
                continue;
            }
            let sum = Func::coalesce([Func::sum(Expr::col(Column::FileSize)).into(), Expr::val(0_i64)]);
            let used: Option<i64> = attachment::Entity::find()
                .select_only()
                .expr(Expr::from(sum).cast_as(Alias::new("bigint")))
                .filter(Column::State.eq(AttachmentState::Uploaded))
                .filter(Column::AccountId.eq(account))
                .filter(whose.map_or_else(Condition::all, |whose| Condition::all().add(whose)))
                .into_tuple()
                .one(db.read())
                .await?;
            let of_this = quota.saturating_sub(used.unwrap_or_default().unsigned_abs());
            if of_this == 0 {
                return Err(exceeded(scope, quota).into());
            }
            left = Ord::min(left, of_this);
        }
        Ok(left)
    }

    /// Returns the error for an upload that exceeds the remaining quota, with the retry delay.
    pub fn exceeded(&self, session: Option<ContactInboxId>) -> Exceeded {
        match session {
            Some(_) => exceeded("session", self.of_session),
            None => exceeded("account", self.of_members),
        }
    }
}

fn exceeded(scope: &'static str, limit: u64) -> Exceeded {
    Exceeded {
        scope,
        quota: "bytes of unattached files",
        limit,
        retry_after: RETRY,
    }
}
