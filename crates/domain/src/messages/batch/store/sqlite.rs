//! Stores message plans on SQLite.
//!
//! A plan with a single message, the usual case, is stored with one parameter per value, because SQLite would take longer to parse the rows
//! from JSON than to store them. Larger batches use one parameter per table, a JSON array of arrays, which limits the number of statement
//! texts to prepare. Their binary values are concatenated into one blob that is bound separately.

use parley_storage::{Database, entity::idempotency_key, joined::Conversation};
use parley_types::error::Result;
use sea_orm::DbBackend;
use sqlx::{Arguments as _, sqlite::SqliteArguments};

use crate::{
    files::rows,
    messages::batch::batches::MessageBatches,
    write::{
        plan::Plan,
        store::{
            failed,
            sqlite::{
                Bound, bind, bind_update,
                cells::{Blob, Cell, EMPTY, counters, event, json, key},
                text::ACCOUNT_LOGS,
            },
        },
    },
};

mod cells;
mod text;

/// Stores plans in one transaction.
///
/// # Errors
/// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if a
/// statement fails, in which case nothing is stored.
pub async fn store(db: &Database, plans: &[&Plan<MessageBatches>]) -> Result<()> {
    let (sql, arguments) = match Single::of(plans) {
        Some(single) => single.bound(),
        None => many(plans),
    }?;
    // Use sqlx directly: sea-orm moves a future of 15 KB several times for each statement.
    let mut txn = db.begin_sqlite().await?;
    sqlx::query_with(sql, arguments).execute(&mut *txn).await.map_err(failed)?;
    for plan in plans {
        if !plan.rows.claims.is_empty() {
            // Safe: the only values embedded in the SQL are ids and positions that this service assigned.
            let sql = sqlx::AssertSqlSafe(rows::text(&plan.rows.claims));
            sqlx::query(sql).persistent(false).execute(&mut *txn).await.map_err(failed)?;
        }
        if !plan.rows.attachments.is_empty() {
            let sql = sqlx::AssertSqlSafe(rows::insert_text(DbBackend::Sqlite));
            let rows = rows::insert_rows(&plan.rows.attachments);
            sqlx::query(sql).bind(rows).execute(&mut *txn).await.map_err(failed)?;
        }
    }
    txn.commit().await.map_err(failed)
}

/// A plan with one message.
struct Single<'p> {
    plan: &'p Plan<MessageBatches>,
    conversation: &'p Conversation,
    shape: text::Shape,
}

impl<'p> Single<'p> {
    /// Returns the plan if the statements for a single message can store it, otherwise `None`.
    fn of(plans: &[&'p Plan<MessageBatches>]) -> Option<Self> {
        let [plan] = plans else { return None };
        let (contacts, responses) = (plan.rows.changed_contacts(plan.expected.head_seq).count(), plan.responses.len());
        let fits = plan.rows.messages.len() == 1
            && plan.rows.conversations.len() == 1
            && (1..=text::EVENTS_OF_ONE).contains(&plan.entries.len())
            && contacts <= 1
            && responses <= 1;
        let conversation = plan.rows.conversations.values().next().filter(|_| fits)?;
        Some(Self {
            plan,
            conversation: &conversation.conversation,
            shape: text::Shape {
                events: plan.entries.len(),
                contact: contacts == 1,
                key: responses == 1,
            },
        })
    }

    /// Returns the statements, with their values bound in the order of the parameters.
    fn bound(&self) -> Result<Bound> {
        let plan = self.plan;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(80, 0);
        bind_update(&mut arguments, ACCOUNT_LOGS, counters((&plan.expected, &plan.counters)))?;
        for row in &plan.rows.messages {
            bind(&mut arguments, cells::message(row))?;
        }
        for row in &plan.entries {
            bind(&mut arguments, event(row))?;
        }
        bind_update(
            &mut arguments,
            text::CONVERSATIONS_BY_KEY,
            cells::conversation(&self.conversation.row),
        )?;
        for row in plan.rows.changed_contacts(plan.expected.head_seq) {
            bind_update(&mut arguments, text::CONTACTS_BY_KEY, cells::contact(row))?;
        }
        for row in &plan.responses {
            bind(&mut arguments, key(row, row.owner.unwrap_or_default().as_bytes()))?;
        }
        Ok((text::single(self.shape), arguments))
    }
}

fn many(plans: &[&Plan<MessageBatches>]) -> Result<Bound> {
    let all = || plans.iter();
    let (mut payloads, mut responses) = (Blob::default(), Blob::default());
    let counted = json(all().map(|plan| counters((&plan.expected, &plan.counters))), &mut payloads)?;
    let messages = json(all().flat_map(|plan| &plan.rows.messages).map(cells::message), &mut payloads)?;
    let events = json(all().flat_map(|plan| &plan.entries).map(event), &mut payloads)?;
    let cached = all().flat_map(|plan| plan.rows.conversations.values());
    let conversations = json(cached.map(|cached| cells::conversation(&cached.conversation.row)), &mut payloads)?;
    let contacts = json(
        all()
            .flat_map(|plan| plan.rows.changed_contacts(plan.expected.head_seq))
            .map(cells::contact),
        &mut payloads,
    )?;
    let keys: Vec<(&idempotency_key::Model, [u8; 16])> = all()
        .flat_map(|plan| &plan.responses)
        .map(|row| (row, row.owner.unwrap_or_default().into_bytes()))
        .collect();
    let keys = json(keys.iter().map(|(row, owner)| key(row, owner)), &mut responses)?;
    let mut arguments = SqliteArguments::default();
    bind(&mut arguments, [Cell::from(counted), Cell::from(messages)])?;
    bind(
        &mut arguments,
        [Cell::Bytes(&payloads.0), Cell::from(events), Cell::from(conversations)],
    )?;
    let is_whole = contacts != EMPTY || keys != EMPTY;
    if is_whole {
        bind(&mut arguments, [Cell::from(contacts)])?;
        // The statements reference the blob once for each binary column, so bind it once for each of them.
        bind(&mut arguments, (0..4).map(|_| Cell::Bytes(&responses.0)))?;
        bind(&mut arguments, [Cell::from(keys)])?;
    }
    Ok((text::many(is_whole), arguments))
}
