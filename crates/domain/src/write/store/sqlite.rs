//! Plans on SQLite, which has no arrays and takes no writes inside of WITH: one statement a table, and all of them sent at
//! once, because each message to SQLite's thread costs more than a row.
//!
//! The plan of one message, the usual one, is bound value by value: reading its rows from JSON costs SQLite more than storing them. Larger
//! batches go as one JSON array of arrays a table, so that there are few texts to prepare; bytes go beside it, one after the other in one blob.

use crate::files::rows;
use parley_storage::{Database, entity::idempotency_key, joined::Conversation};
use parley_types::error::{Error, Result};
use sea_orm::{DbBackend, DbErr, RuntimeErr};
use sqlx::{Arguments as _, sqlite::SqliteArguments};

use super::super::plan::Plan;

mod cells;
mod text;

use cells::{Blob, Cell, json};

/// Stores plans in one transaction.
///
/// # Errors
/// When the database fails or a constraint is broken; then nothing is stored.
pub async fn store(db: &Database, plans: &[&Plan]) -> Result<()> {
    let (sql, arguments) = match Single::of(plans) {
        Some(single) => single.bound(),
        None => many(plans),
    }?;
    // By sqlx and not by sea-orm, which moves a future of 15 KB several times for each statement.
    let mut txn = db.begin_sqlite().await?;
    sqlx::query_with(sql, arguments).execute(&mut *txn).await.map_err(broken)?;
    for plan in plans {
        if !plan.claims.is_empty() {
            // Numbers of ours, and nothing else.
            let sql = sqlx::AssertSqlSafe(rows::text(&plan.claims));
            sqlx::query(sql).persistent(false).execute(&mut *txn).await.map_err(broken)?;
        }
        if !plan.attachments.is_empty() {
            let sql = sqlx::AssertSqlSafe(rows::insert_text(DbBackend::Sqlite));
            let rows = rows::insert_rows(&plan.attachments);
            sqlx::query(sql).bind(rows).execute(&mut *txn).await.map_err(broken)?;
        }
    }
    txn.commit().await.map_err(broken)
}

fn broken(error: sqlx::Error) -> Error {
    DbErr::Exec(RuntimeErr::SqlxError(error.into())).into()
}

/// A text, and what is bound to it.
type Bound = (&'static str, SqliteArguments);

/// The plan of one message.
struct Single<'p> {
    plan: &'p Plan,
    conversation: &'p Conversation,
    shape: text::Shape,
}

impl<'p> Single<'p> {
    /// None for what is more than the texts are made for.
    fn of(plans: &[&'p Plan]) -> Option<Self> {
        let [plan] = plans else { return None };
        let (contacts, keys) = (plan.changed_contacts().count(), plan.keys.len());
        let fits = plan.messages.len() == 1
            && plan.conversations.len() == 1
            && (1..=text::EVENTS_OF_ONE).contains(&plan.entries.len())
            && contacts <= 1
            && keys <= 1
            // The text always sets the counters.
            && pairs(plan).is_some();
        let conversation = plan.conversations.values().next().filter(|_| fits)?;
        Some(Self {
            plan,
            conversation: &conversation.conversation,
            shape: text::Shape {
                events: plan.entries.len(),
                contact: contacts == 1,
                key: keys == 1,
            },
        })
    }

    /// In the order of the text: of an update the columns that are set, and then the key.
    fn bound(&self) -> Result<Bound> {
        let plan = self.plan;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(80, 0);
        if let Some(row) = pairs(plan) {
            bind_update(&mut arguments, text::ACCOUNT_LOGS, cells::counters(row))?;
        }
        for row in &plan.messages {
            bind(&mut arguments, cells::message(row))?;
        }
        for row in &plan.entries {
            bind(&mut arguments, cells::event(row))?;
        }
        bind_update(
            &mut arguments,
            text::CONVERSATIONS_BY_KEY,
            cells::conversation(&self.conversation.row),
        )?;
        for row in plan.changed_contacts() {
            bind_update(&mut arguments, text::CONTACTS_BY_KEY, cells::contact(row))?;
        }
        for row in &plan.keys {
            bind(&mut arguments, cells::key(row, row.owner.unwrap_or_default().as_bytes()))?;
        }
        Ok((text::single(self.shape), arguments))
    }
}

fn bind<'a>(arguments: &mut SqliteArguments, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<()> {
    for cell in cells {
        let added = match cell {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Number(number) => arguments.add(number),
            Cell::Text(text) => arguments.add(text),
            Cell::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(|error| Error::Internal(error.to_string()))?;
    }
    Ok(())
}

fn bind_update<const N: usize>(arguments: &mut SqliteArguments, update: text::Update, mut cells: [Cell; N]) -> Result<()> {
    let (rest, set) = cells.split_at_mut(update.set_from);
    bind(arguments, set.iter_mut().map(std::mem::take))?;
    bind(arguments, rest[..update.key].iter_mut().map(std::mem::take))
}

fn many(plans: &[&Plan]) -> Result<Bound> {
    let all = || plans.iter();
    let (mut payloads, mut kept) = (Blob::default(), Blob::default());
    let counters = json(all().filter_map(|plan| pairs(plan)).map(cells::counters), &mut payloads)?;
    let messages = json(all().flat_map(|plan| &plan.messages).map(cells::message), &mut payloads)?;
    let events = json(all().flat_map(|plan| &plan.entries).map(cells::event), &mut payloads)?;
    let known = all().flat_map(|plan| plan.conversations.values());
    let conversations = json(known.map(|known| cells::conversation(&known.conversation.row)), &mut payloads)?;
    let contacts = json(all().flat_map(|plan| plan.changed_contacts()).map(cells::contact), &mut payloads)?;
    let keys: Vec<(&idempotency_key::Model, [u8; 16])> = all()
        .flat_map(|plan| &plan.keys)
        .map(|row| (row, row.owner.unwrap_or_default().into_bytes()))
        .collect();
    let keys = json(keys.iter().map(|(row, owner)| cells::key(row, owner)), &mut kept)?;
    let mut arguments = SqliteArguments::default();
    bind(&mut arguments, [Cell::from(counters), Cell::from(messages)])?;
    bind(
        &mut arguments,
        [Cell::Bytes(&payloads.0), Cell::from(events), Cell::from(conversations)],
    )?;
    let is_whole = contacts != cells::EMPTY || keys != cells::EMPTY;
    if is_whole {
        bind(&mut arguments, [Cell::from(contacts)])?;
        // The blob once for each column of bytes.
        bind(&mut arguments, (0..4).map(|_| Cell::Bytes(&kept.0)))?;
        bind(&mut arguments, [Cell::from(keys)])?;
    }
    Ok((text::many(is_whole), arguments))
}

fn pairs(plan: &Plan) -> Option<cells::Counters<'_>> {
    plan.expected.as_ref().zip(plan.counters.as_ref())
}
