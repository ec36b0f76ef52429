//! Users stand outside of accounts. What changes of one is told to each account that it is a member of, in that account's log: who is still to
//! be told is noted with the change, and goes with the event, so that no crash in between loses one.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict, Query},
};

use crate::{
    chat::{Chat, call::Call, caller::Caller},
    db::{
        entity::{announcement, membership},
        load,
    },
    error::Result,
    events::{
        draft::{Draft, Subject},
        kind::EventKind,
    },
    id::{AccountId, UserId},
    time::Micros,
};

/// After this long whoever made the change is not going to tell of it any more.
const LATE: Duration = Duration::from_secs(10);

/// How many are told at once.
const BATCH: u64 = 200;

/// Notes that the accounts of a user, but for one that was told already, are to be told of a change. To be called in its transaction.
///
/// # Errors
/// When the database fails.
pub(super) async fn note(db: &impl ConnectionTrait, user: UserId, told: Option<AccountId>, at: Micros) -> Result<()> {
    use announcement::Column;
    let mut members = Query::select();
    members
        .column(membership::Column::AccountId)
        .column(membership::Column::UserId)
        .expr(Expr::value(at.0))
        .from(membership::Entity)
        .and_where(Expr::col(membership::Column::UserId).eq(i64::from(user)));
    if let Some(told) = told {
        members.and_where(Expr::col(membership::Column::AccountId).ne(told.0));
    }
    // One that waits already is taken hold of: whoever is about to tell of it tells of this change too, or leaves it.
    let mut insert = Query::insert();
    insert
        .into_table(announcement::Entity)
        .columns([Column::AccountId, Column::UserId, Column::ChangedAt])
        .on_conflict(
            OnConflict::columns([Column::AccountId, Column::UserId])
                .update_column(Column::ChangedAt)
                .to_owned(),
        );
    insert
        .select_from(members)
        .map_err(|error| crate::error::Error::Internal(error.to_string()))?;
    db.execute(&insert).await?;
    Ok(())
}

impl Chat {
    /// Tells the accounts that are still to be told of a user's change. Those that cannot be told now are told later, so this never fails.
    pub(super) async fn announce_user(&self, caller: &Arc<Caller>, traceparent: &str, user: UserId) {
        let accounts = announcement::Entity::find()
            .select_only()
            .column(announcement::Column::AccountId)
            .filter(announcement::Column::UserId.eq(user))
            .order_by_asc(announcement::Column::AccountId)
            .into_tuple::<AccountId>()
            .all(self.db.read())
            .await;
        match accounts {
            Ok(accounts) => {
                for account in accounts {
                    self.announce_to(caller, traceparent, account, user).await;
                }
            }
            Err(error) => tracing::warn!(%user, %error, "a change of a user is told later"),
        }
    }

    /// Tells what nobody told in time; how many were looked at. There may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn announce_late(&self) -> Result<usize> {
        let waiting = announcement::Entity::find()
            .filter(announcement::Column::ChangedAt.lt(Micros::now().minus(LATE)))
            .order_by_asc(announcement::Column::ChangedAt)
            .limit(BATCH)
            .all(self.db.read());
        let waiting = self.db.in_time(async { Ok(waiting.await?) }).await?;
        let parley = Arc::new(Caller::parley());
        for row in &waiting {
            self.announce_to(&parley, "", row.account_id, row.user_id).await;
        }
        Ok(waiting.len())
    }

    async fn announce_to(&self, caller: &Arc<Caller>, traceparent: &str, account: AccountId, user: UserId) {
        let call: Call<()> = Call {
            caller: Arc::clone(caller),
            account,
            key: None,
            traceparent: traceparent.to_owned(),
        };
        let told = self.writer.write(call, move |write| {
            Box::pin(async move {
                // Before the user is read: what changes it meanwhile waits for this, and notes itself anew.
                let noted = announcement::Entity::delete_by_id((write.account().id, user))
                    .exec(&write.txn)
                    .await?;
                if noted.rows_affected == 0 {
                    return Ok(());
                }
                let agents = load::agents(&write.txn, write.account().id, [user].into_iter()).await?;
                if let Some(agent) = agents.get(&user) {
                    let subject = Subject::Agent(agent.as_ref().clone());
                    write.ledger.emit(Draft::new(EventKind::AgentUpdated, subject));
                }
                Ok(())
            })
        });
        if let Err(error) = told.await {
            tracing::warn!(%account, %user, %error, "a change of a user is told later");
        }
    }
}
