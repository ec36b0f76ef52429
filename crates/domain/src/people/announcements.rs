//! Users, and bots of the installation, stand outside of accounts. What changes of one is told to each account that it is a member of, or in an
//! inbox of, in that account's log: who is still to be told is noted with the change, and goes with the event, so that no crash in between
//! loses one.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    draft::{Draft, Subject},
    kind::EventKind,
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

use crate::{Chat, auth::caller::Caller, write::call::Call};

/// After this long whoever made the change is not going to tell of it any more.
const LATE: Duration = Duration::from_secs(10);

/// How many are told at once.
const BATCH: u64 = 200;

/// What changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    /// A user.
    User(UserId),
    /// A bot of the installation.
    AgentBot(AgentBotId),
}

impl About {
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

/// Records that the accounts of a user or a bot have to be notified of a change. Call it in the transaction of the change.
///
/// # Errors
/// When the database fails.
pub(crate) async fn note(db: &impl ConnectionTrait, about: About, at: Micros) -> Result<()> {
    use announcement::Column;
    let (kind, id) = about.stored();
    let mut accounts = Query::select();
    match about {
        About::User(_) => accounts
            .column(membership::Column::AccountId)
            .from(membership::Entity)
            .and_where(Expr::col(membership::Column::UserId).eq(id))
            // An account that has not seen the user yet must not learn from an event that there is one.
            .cond_where(
                Cond::any()
                    .add(Expr::col(membership::Column::Email).is_null())
                    .add(Expr::col(membership::Column::ActiveAt).is_not_null()),
            ),
        About::AgentBot(_) => accounts
            .distinct()
            .column(inbox::Column::AccountId)
            .from(inbox::Entity)
            .and_where(Expr::col(inbox::Column::AgentBotId).eq(id)),
    };
    accounts
        .expr(Expr::value(kind as i16))
        .expr(Expr::value(id))
        .expr(Expr::value(at.0));
    // One that waits already is taken hold of: whoever is about to tell of it tells of this change too, or leaves it.
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

impl Chat {
    /// Tells the accounts that are still to be told of a change. Those that cannot be told now are told later, so this never fails.
    pub(crate) async fn announce(&self, caller: &Arc<Caller>, traceparent: &str, about: About) {
        let (kind, id) = about.stored();
        let accounts = announcement::Entity::find()
            .select_only()
            .column(announcement::Column::AccountId)
            .filter(announcement::Column::SubjectKind.eq(kind))
            .filter(announcement::Column::SubjectId.eq(id))
            .order_by_asc(announcement::Column::AccountId)
            .into_tuple::<AccountId>()
            .all(self.db.read())
            .await;
        match accounts {
            Ok(accounts) => {
                for account in accounts {
                    self.announce_to(caller, traceparent, account, about).await;
                }
            }
            Err(error) => tracing::warn!(?about, %error, "a change is told later"),
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
            self.announce_to(&parley, "", row.account_id, About::read(row)).await;
        }
        Ok(waiting.len())
    }

    async fn announce_to(&self, caller: &Arc<Caller>, traceparent: &str, account: AccountId, about: About) {
        let call: Call<()> = Call {
            caller: Arc::clone(caller),
            account,
            key: None,
            traceparent: traceparent.to_owned(),
        };
        let told = self.writer.write(call, move |write| {
            Box::pin(async move {
                let (kind, id) = about.stored();
                // Before what changed is read: what changes it meanwhile waits for this, and notes itself anew.
                let noted = announcement::Entity::delete_by_id((write.account().id, kind, id))
                    .exec(&write.txn)
                    .await?;
                if noted.rows_affected == 0 {
                    return Ok(());
                }
                let draft = match about {
                    About::User(user) => {
                        let agents = load::agents(&write.txn, write.account().id, [user].into_iter()).await?;
                        let agent = agents.get(&user).map(|agent| Subject::Agent(agent.as_ref().clone()));
                        agent.map(|agent| Draft::new(EventKind::AgentUpdated, agent))
                    }
                    About::AgentBot(bot) => {
                        let mut bots = load::agent_bots(&write.txn, write.account().id, [bot].into_iter()).await?;
                        let bot = bots.remove(&bot).map(Subject::AgentBot);
                        bot.map(|bot| Draft::new(EventKind::AgentBotUpdated, bot))
                    }
                };
                // Whoever is gone by now has told of that.
                if let Some(draft) = draft {
                    write.set.emit(draft);
                }
                Ok(())
            })
        });
        if let Err(error) = told.await {
            tracing::warn!(%account, ?about, %error, "a change is told later");
        }
    }
}
