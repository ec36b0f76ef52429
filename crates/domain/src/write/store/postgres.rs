//! Plans on PostgreSQL: each column of a batch is bound as one array.

use std::{collections::HashSet, time::Duration};

use parley_eventlog::entry::Entry;
use parley_storage::{
    Database, IDLE,
    entity::{account_log, contact, conversation, idempotency_key, message},
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId, Epoch, MessageId, Seq},
    time::Micros,
};
use sea_orm::{DbBackend, DbErr, RuntimeErr};
use sqlx::{
    Connection as _, Encode, PgConnection, Postgres, Row as _, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    types::Json,
};
use tokio::time::{Instant, timeout};

use super::{
    super::plan::Plan,
    statement::{self, Shape},
};
use crate::files::rows;

/// A lane's own connection. A pool tries each connection that comes back with a round trip, for every batch; and the
/// arrays go out as they are, not as a value of sea-query for each element.
#[derive(Debug)]
pub struct Connection {
    db: Database,
    open: Option<PgConnection>,
    used_at: Instant,
}

/// A statement with what is bound to it.
type Bound<'q> = Query<'q, Postgres, PgArguments>;

impl Connection {
    /// Connects when it is first needed, and again after a connection broke.
    pub fn new(db: Database) -> Self {
        Self {
            db,
            open: None,
            used_at: Instant::now(),
        }
    }

    async fn get(&mut self) -> Result<&mut PgConnection> {
        let idle = std::mem::replace(&mut self.used_at, Instant::now()).elapsed() > IDLE;
        let mut kept = self.open.take();
        if let Some(open) = &mut kept
            && idle
            && !answers(open).await
        {
            kept = None;
        }
        let open = match kept {
            Some(open) => open,
            None => self.db.connect_alone().await?,
        };
        Ok(self.open.insert(open))
    }

    /// The connection that holds the lock. Another one would store the plan without it, statement by statement.
    fn held(&mut self) -> Result<&mut PgConnection> {
        self.used_at = Instant::now();
        self.open.as_mut().ok_or(Error::Unavailable {
            reason: "the connection that held the account's lock is gone",
            retry_after: Duration::from_secs(1),
        })
    }

    /// Stores the plans of those accounts whose head is where the plan expects it, and returns which they are.
    ///
    /// # Errors
    /// When the database fails or a constraint is broken; then nothing is stored, unless the connection broke.
    pub async fn store(&mut self, plans: &[&Plan], unlocked: bool) -> Result<HashSet<AccountId>> {
        let db = self.db.clone();
        let claimed = db.in_time(Box::pin(async { run(self.get().await?, plans, unlocked).await })).await;
        // What broke the connection is noticed here; what a constraint refused leaves it whole.
        claimed.inspect_err(|error| {
            if matches!(error, Error::Unavailable { .. }) {
                self.open = None;
            }
        })
    }

    /// Begins a transaction that holds the lock of the account's counters; none without such an account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lock(&mut self, account: AccountId) -> Result<Option<account_log::Model>> {
        let db = self.db.clone();
        let connection = self.get().await?;
        let locked = async {
            sqlx::query("BEGIN").execute(&mut *connection).await.map_err(broken)?;
            let sql = "SELECT * FROM account_logs WHERE account_id = $1 FOR UPDATE";
            let row = sqlx::query(sql).bind(account.0).fetch_optional(&mut *connection).await;
            row.and_then(|row| row.as_ref().map(counters).transpose()).map_err(broken)
        };
        let locked = db.in_time(Box::pin(locked)).await;
        if !matches!(locked, Ok(Some(_))) {
            self.release().await;
        }
        locked
    }

    /// Stores a plan and ends the lock; without the plan, if that fails.
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub async fn commit(&mut self, plan: &Plan) -> Result<()> {
        let db = self.db.clone();
        let connection = self.held()?;
        let stored = async {
            if run(connection, &[plan], false).await?.is_empty() {
                return Err(Error::Internal("the counters moved under their lock".to_owned()));
            }
            if !plan.claims.is_empty() {
                // Numbers of ours, and nothing else.
                let text = sqlx::AssertSqlSafe(rows::text(&plan.claims));
                sqlx::query(text)
                    .persistent(false)
                    .execute(&mut *connection)
                    .await
                    .map_err(broken)?;
            }
            if !plan.attachments.is_empty() {
                let text = sqlx::AssertSqlSafe(rows::insert_text(DbBackend::Postgres));
                sqlx::query(text)
                    .bind(rows::insert_rows(&plan.attachments))
                    .execute(&mut *connection)
                    .await
                    .map_err(broken)?;
            }
            sqlx::query("COMMIT").execute(&mut *connection).await.map_err(broken)?;
            Ok(())
        };
        let stored = db.in_time(Box::pin(stored)).await;
        if stored.is_err() {
            self.release().await;
        }
        stored
    }

    /// Ends the lock; nothing is stored. With a connection that does not say so at once it ends when PostgreSQL notices.
    pub async fn release(&mut self) {
        if let Some(mut open) = self.open.take()
            && matches!(timeout(AT_ONCE, sqlx::query("ROLLBACK").execute(&mut open)).await, Ok(Ok(_)))
        {
            self.open = Some(open);
        }
    }

    /// Says goodbye to PostgreSQL, if there is a connection.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Ok(Err(error)) = timeout(AT_ONCE, open.close()).await
        {
            tracing::debug!(%error, "a connection could not be closed");
        }
    }
}

/// Within this PostgreSQL answers what needs no work; a connection that is silent for longer is given up.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Whether the other end is still there.
async fn answers(open: &mut PgConnection) -> bool {
    matches!(timeout(AT_ONCE, open.ping()).await, Ok(Ok(())))
}

fn broken(error: sqlx::Error) -> Error {
    DbErr::Exec(RuntimeErr::SqlxError(error.into())).into()
}

fn counters(row: &PgRow) -> sqlx::Result<account_log::Model> {
    Ok(account_log::Model {
        account_id: AccountId(row.try_get("account_id")?),
        epoch: Epoch(row.try_get("epoch")?),
        head_seq: Seq(row.try_get("head_seq")?),
        earliest_seq: Seq(row.try_get("earliest_seq")?),
        last_conversation_id: ConversationId(row.try_get("last_conversation_id")?),
        last_message_id: MessageId(row.try_get("last_message_id")?),
        last_occurred_at: Micros(row.try_get("last_occurred_at")?),
    })
}

async fn run(connection: &mut PgConnection, plans: &[&Plan], unlocked: bool) -> Result<HashSet<AccountId>> {
    let contacts: Vec<&contact::Model> = plans.iter().flat_map(|plan| plan.changed_contacts()).collect();
    let keys: Vec<&idempotency_key::Model> = plans.iter().flat_map(|plan| &plan.keys).collect();
    let shape = Shape {
        contacts: !contacts.is_empty(),
        keys: !keys.is_empty(),
        unlocked,
    };
    let mut query = sqlx::query(statement::text(shape));
    query = bind_counters(query, plans);
    query = bind_messages(query, plans);
    query = bind_events(query, plans);
    query = bind_conversations(query, plans);
    if shape.contacts {
        query = bind_contacts(query, &contacts);
    }
    if shape.keys {
        query = bind_keys(query, &keys);
    }
    let rows = query.fetch_all(connection).await.map_err(broken)?;
    rows.iter().map(|row| row.try_get(0).map(AccountId).map_err(broken)).collect()
}

/// One array parameter: a column of all rows.
fn column<'q, T: ?Sized, V>(query: Bound<'q>, rows: &[&'q T], get: impl Fn(&'q T) -> V) -> Bound<'q>
where
    Vec<V>: Encode<'q, Postgres> + Type<Postgres> + 'q,
{
    query.bind(rows.iter().map(|row| get(row)).collect::<Vec<V>>())
}

fn time(at: Option<Micros>) -> Option<i64> {
    at.map(|at| at.0)
}

fn number(id: Option<impl Into<i64>>) -> Option<i64> {
    id.map(Into::into)
}

// In the order of `statement::COUNTERS`; so are those below, each of its own list.
fn bind_counters<'q>(query: Bound<'q>, plans: &[&'q Plan]) -> Bound<'q> {
    let before: Vec<&account_log::Model> = plans.iter().filter_map(|plan| plan.expected.as_ref()).collect();
    let after: Vec<&account_log::Model> = plans.iter().filter_map(|plan| plan.counters.as_ref()).collect();
    let query = column(query, &before, |row| row.account_id.0);
    let query = column(query, &before, |row| row.epoch.0);
    let query = column(query, &before, |row| row.head_seq.0);
    let query = column(query, &after, |row| row.head_seq.0);
    let query = column(query, &after, |row| row.last_message_id.0);
    column(query, &after, |row| row.last_occurred_at.0)
}

fn bind_messages<'q>(query: Bound<'q>, plans: &[&'q Plan]) -> Bound<'q> {
    let rows: Vec<&message::Model> = plans.iter().flat_map(|plan| &plan.messages).collect();
    let query = column(query, &rows, |row| row.account_id.0);
    let query = column(query, &rows, |row| row.id.0);
    let query = column(query, &rows, |row| row.conversation_id.0);
    let query = column(query, &rows, |row| row.number);
    let query = column(query, &rows, |row| row.inbox_id.0);
    let query = column(query, &rows, |row| row.message_type as i16);
    let query = column(query, &rows, |row| row.content.as_deref());
    let query = column(query, &rows, |row| row.content_type as i16);
    let query = column(query, &rows, |row| Json(&row.content_attributes));
    let query = column(query, &rows, |row| row.status as i16);
    let query = column(query, &rows, |row| row.private);
    let query = column(query, &rows, |row| row.source_id.as_deref());
    let query = column(query, &rows, |row| row.unique_source_id.as_deref());
    let query = column(query, &rows, |row| row.sender_type.map(|kind| kind as i16));
    let query = column(query, &rows, |row| number(row.sender_id));
    let query = column(query, &rows, |row| Json(&row.additional_attributes));
    let query = column(query, &rows, |row| row.created_at.0);
    let query = column(query, &rows, |row| row.updated_at.0);
    column(query, &rows, |row| row.version.0)
}

fn bind_events<'q>(query: Bound<'q>, plans: &[&'q Plan]) -> Bound<'q> {
    let rows: Vec<&Entry> = plans.iter().flat_map(|plan| &plan.entries).collect();
    let query = column(query, &rows, |row| row.account.0);
    let query = column(query, &rows, |row| row.seq.0);
    let query = column(query, &rows, |row| row.transaction_id.0);
    let query = column(query, &rows, |row| row.kind);
    let query = column(query, &rows, |row| number(row.inbox));
    let query = column(query, &rows, |row| number(row.conversation));
    let query = column(query, &rows, |row| number(row.contact));
    let query = column(query, &rows, |row| row.message_type.map(|kind| kind as i16));
    let query = column(query, &rows, |row| row.private);
    let query = column(query, &rows, |row| row.occurred_at.0);
    column(query, &rows, |row| row.payload.as_ref())
}

fn bind_conversations<'q>(query: Bound<'q>, plans: &[&'q Plan]) -> Bound<'q> {
    let known = plans.iter().flat_map(|plan| plan.conversations.values());
    let rows: Vec<&conversation::Model> = known.map(|known| &known.conversation.row).collect();
    let query = column(query, &rows, |row| row.account_id.0);
    let query = column(query, &rows, |row| row.id.0);
    let query = column(query, &rows, |row| row.status as i16);
    let query = column(query, &rows, |row| time(row.snoozed_until));
    let query = column(query, &rows, |row| time(row.first_reply_created_at));
    let query = column(query, &rows, |row| time(row.waiting_since));
    let query = column(query, &rows, |row| row.last_activity_at.0);
    let query = column(query, &rows, |row| time(row.last_incoming_at));
    let query = column(query, &rows, |row| row.unread_count);
    let query = column(query, &rows, |row| row.message_count);
    let query = column(query, &rows, |row| number(row.last_message_id));
    let query = column(query, &rows, |row| number(row.last_non_activity_message_id));
    let query = column(query, &rows, |row| number(row.last_public_message_id));
    let query = column(query, &rows, |row| time(row.last_reply_at));
    let query = column(query, &rows, |row| time(row.last_template_at));
    let query = column(query, &rows, |row| row.updated_at.0);
    column(query, &rows, |row| row.version.0)
}

fn bind_contacts<'q>(query: Bound<'q>, rows: &[&'q contact::Model]) -> Bound<'q> {
    let query = column(query, rows, |row| row.account_id.0);
    let query = column(query, rows, |row| row.id.0);
    let query = column(query, rows, |row| time(row.last_activity_at));
    let query = column(query, rows, |row| row.updated_at.0);
    column(query, rows, |row| row.version.0)
}

fn bind_keys<'q>(query: Bound<'q>, rows: &[&'q idempotency_key::Model]) -> Bound<'q> {
    let query = column(query, rows, |row| row.account_id.0);
    let query = column(query, rows, |row| row.request_id);
    let query = column(query, rows, |row| row.fingerprint.as_slice());
    let query = column(query, rows, |row| row.response.as_slice());
    let query = column(query, rows, |row| row.created_at.0);
    let query = column(query, rows, |row| row.owner);
    column(query, rows, |row| number(row.contact_id))
}
