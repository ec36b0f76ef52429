//! Stores plans for batches of messages in PostgreSQL.

use std::collections::HashSet;

use parley_storage::entity::{contact, conversation, idempotency_key, message};
use parley_types::{error::Result, id::AccountId};
use sea_orm::DbBackend;
use sqlx::{PgConnection, Row as _, types::Json};

use crate::{
    files::rows,
    messages::batch::batches::MessageBatches,
    write::{
        plan::Plan,
        store::{
            bind::{Bound, bind_counters, bind_events, bind_responses, column, number, time},
            failed,
        },
    },
};

mod text;

use text::Shape;

/// Stores plans in a single statement, and returns the accounts whose plans were stored. A plan is stored only if its account's head is
/// where the plan expects it.
///
/// # Errors
/// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if the
/// statement fails.
pub async fn store(connection: &mut PgConnection, plans: &[&Plan<MessageBatches>], unlocked: bool) -> Result<HashSet<AccountId>> {
    let contacts: Vec<&contact::Model> = plans
        .iter()
        .flat_map(|plan| plan.rows.changed_contacts(plan.expected.head_seq))
        .collect();
    let keys: Vec<&idempotency_key::Model> = plans.iter().flat_map(|plan| &plan.responses).collect();
    let shape = Shape {
        contacts: !contacts.is_empty(),
        keys: !keys.is_empty(),
        unlocked,
    };
    // Bind the parameters in the order in which the statement returned by `text::text` uses them.
    let mut query = sqlx::query(text::text(shape));
    query = bind_counters(query, plans);
    query = bind_messages(query, plans);
    query = bind_events(query, plans);
    query = bind_conversations(query, plans);
    if shape.contacts {
        query = bind_contacts(query, &contacts);
    }
    if shape.keys {
        query = bind_responses(query, &keys);
    }
    let rows = query.fetch_all(connection).await.map_err(failed)?;
    rows.iter().map(|row| row.try_get(0).map(AccountId).map_err(failed)).collect()
}

/// Stores the attachments of a plan that was made under the row lock: it updates claimed uploads and inserts new attachments.
///
/// # Errors
/// Same as [`store`].
pub async fn store_attachments(connection: &mut PgConnection, plan: &Plan<MessageBatches>) -> Result<()> {
    if !plan.rows.claims.is_empty() {
        // Safe: the only values embedded in the SQL are ids and positions that this service assigned.
        let text = sqlx::AssertSqlSafe(rows::text(&plan.rows.claims));
        sqlx::query(text)
            .persistent(false)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    if !plan.rows.attachments.is_empty() {
        let text = sqlx::AssertSqlSafe(rows::insert_text(DbBackend::Postgres));
        sqlx::query(text)
            .bind(rows::insert_rows(&plan.rows.attachments))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Binds the messages, column by column, in the order of [`MESSAGES`](super::columns::MESSAGES).
fn bind_messages<'q>(query: Bound<'q>, plans: &[&'q Plan<MessageBatches>]) -> Bound<'q> {
    let rows: Vec<&message::Model> = plans.iter().flat_map(|plan| &plan.rows.messages).collect();
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

fn bind_conversations<'q>(query: Bound<'q>, plans: &[&'q Plan<MessageBatches>]) -> Bound<'q> {
    let cached = plans.iter().flat_map(|plan| plan.rows.conversations.values());
    let rows: Vec<&conversation::Model> = cached.map(|cached| &cached.conversation.row).collect();
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
