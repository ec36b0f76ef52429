//! The outbox for changes to users and to installation-wide bots. Neither belongs to an account, but an event about each change is appended
//! to the log of every account that has the user as a member or has an inbox connected to the bot. The transaction that makes the change
//! stores one outbox row per such account, and the write that appends the event deletes the row, so a crash in between loses no event.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    kind::EventKind,
    pending_event::{PendingEvent, Subject},
};
use parley_storage::{
    entity::{announcement, inbox, kind::AnnouncedKind, membership},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, AgentBotId, UserId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Cond, Expr, OnConflict, Query},
};

use crate::{auth::caller::Caller, context::Context, write::call::Call};

/// The age from which any replica may deliver a pending change. By then, the call that made the change must have failed to deliver it.
const LATE: Duration = Duration::from_secs(10);

/// The maximum number of rows that one call to [`Outbox::deliver_late`] processes.
const BATCH: u64 = 200;

/// A user or a bot that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutboxSubject {
    User(UserId),
    /// An installation-wide bot, which belongs to no account.
    AgentBot(AgentBotId),
}

impl OutboxSubject {
    fn stored(self) -> (AnnouncedKind, i64) {
        match self {
            Self::User(id) => (AnnouncedKind::User, id.0),
            Self::AgentBot(id) => (AnnouncedKind::AgentBot, id.0),
        }
    }

    fn read(row: &announcement::Model) -> Self {
        match row.subject_kind {
            AnnouncedKind::User => Self::User(UserId(row.subject_id)),
            AnnouncedKind::AgentBot => Self::AgentBot(AgentBotId(row.subject_id)),
        }
    }
}

/// Records that the accounts of a user or a bot have to be notified of a change. Must be called in the transaction of the change.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub(crate) async fn record(db: &impl ConnectionTrait, about: OutboxSubject, at: Micros) -> Result<()> {
    use announcement::Column;
    let (kind, id) = about.stored();
    let mut accounts = Query::select();
    match about {
        OutboxSubject::User(_) => accounts
            .column(membership::Column::AccountId)
            .from(membership::Entity)
            .and_where(Expr::col(membership::Column::UserId).eq(id))
            // An account that added a user by e-mail address must not learn from an event whether the user existed before.
            .cond_where(
                Cond::any()
                    .add(Expr::col(membership::Column::Email).is_null())
                    .add(Expr::col(membership::Column::ActiveAt).is_not_null()),
            ),
        OutboxSubject::AgentBot(_) => accounts
            .distinct()
            .column(inbox::Column::AccountId)
            .from(inbox::Entity)
            .and_where(Expr::col(inbox::Column::AgentBotId).eq(id)),
    };
    accounts
        .expr(Expr::value(kind as i16))
        .expr(Expr::value(id))
        .expr(Expr::value(at.0));
    // Updating a pending row locks it: a delivery in progress either also reads this change, or leaves the row for the next delivery.
    let key = [Column::AccountId, Column::SubjectKind, Column::SubjectId];
    let mut insert = Query::insert();
    insert
        .into_table(announcement::Entity)
        .columns([key[0], key[1], key[2], Column::ChangedAt])
        .on_conflict(OnConflict::columns(key).update_column(Column::ChangedAt).to_owned());
    insert.select_from(accounts).map_err(|error| Error::Internal(error.to_string()))?;
    db.execute(&insert).await?;
    Ok(())
}

/// The outbox for changes to users and to installation-wide bots, from which events are published.
#[derive(Clone, Debug)]
pub struct Outbox {
    context: Arc<Context>,
}

impl Outbox {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Appends an event about the changed user or bot to the log of each account for which the change is pending. Returns no error, because
    /// [`Outbox::deliver_late`] retries a write that fails.
    pub(crate) async fn deliver(&self, caller: &Arc<Caller>, traceparent: &str, about: OutboxSubject) {
        let (kind, id) = about.stored();
        let accounts = announcement::Entity::find()
            .select_only()
            .column(announcement::Column::AccountId)
            .filter(announcement::Column::SubjectKind.eq(kind))
            .filter(announcement::Column::SubjectId.eq(id))
            .order_by_asc(announcement::Column::AccountId)
            .into_tuple::<AccountId>()
            .all(self.context.db.read())
            .await;
        match accounts {
            Ok(accounts) => {
                for account in accounts {
                    self.deliver_to(caller, traceparent, account, about).await;
                }
            }
            Err(error) => tracing::warn!(?about, %error, "failed to find the accounts that a change affects; retrying later"),
        }
    }

    /// Delivers a bounded number of changes that were not delivered in time. Returns the number of processed changes. More changes can
    /// still be pending.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a query fails.
    pub async fn deliver_late(&self) -> Result<usize> {
        let waiting = announcement::Entity::find()
            .filter(announcement::Column::ChangedAt.lt(Micros::now().minus(LATE)))
            .order_by_asc(announcement::Column::ChangedAt)
            .limit(BATCH)
            .all(self.context.db.read());
        let waiting = self.context.db.in_time(async { Ok(waiting.await?) }).await?;
        let parley = Arc::new(Caller::parley());
        for row in &waiting {
            self.deliver_to(&parley, "", row.account_id, OutboxSubject::read(row)).await;
        }
        Ok(waiting.len())
    }

    async fn deliver_to(&self, caller: &Arc<Caller>, traceparent: &str, account: AccountId, about: OutboxSubject) {
        let call: Call<()> = Call {
            caller: Arc::clone(caller),
            account,
            key: None,
            traceparent: traceparent.to_owned(),
        };
        let delivered = self.context.writer.write(call, move |write| {
            Box::pin(async move {
                let (kind, id) = about.stored();
                // Delete the row before reading the subject: a concurrent change then waits for this transaction and stores a new row.
                let pending = announcement::Entity::delete_by_id((write.account().id, kind, id))
                    .exec(&write.txn)
                    .await?;
                if pending.rows_affected == 0 {
                    return Ok(());
                }
                let draft = match about {
                    OutboxSubject::User(user) => {
                        let agents = load::agents(&write.txn, write.account().id, [user].into_iter()).await?;
                        let agent = agents.get(&user).map(|agent| Subject::Agent(agent.as_ref().clone()));
                        agent.map(|agent| PendingEvent::new(EventKind::AgentUpdated, agent))
                    }
                    OutboxSubject::AgentBot(bot) => {
                        let mut bots = load::agent_bots(&write.txn, write.account().id, [bot].into_iter()).await?;
                        let bot = bots.remove(&bot).map(Subject::AgentBot);
                        bot.map(|bot| PendingEvent::new(EventKind::AgentBotUpdated, bot))
                    }
                };
                // If the subject no longer exists, the log already contains the event of its removal.
                if let Some(draft) = draft {
                    write.set.emit(draft);
                }
                Ok(())
            })
        });
        if let Err(error) = delivered.await {
            tracing::warn!(%account, ?about, %error, "failed to append a change to the log of an account; retrying later");
        }
    }
}
