//! Deletion of accounts and users. An account is closed immediately, and a background job deletes its rows, a bounded number at a time.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    Database,
    entity::{account, attachment, conversation_participant, kind::AccountStatus, membership, token, user},
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, UserId},
};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder};

use crate::files::rows;
use crate::{
    people::{accounts::Accounts, members::Members, users::Users},
    write::{
        call::{Answer, Call},
        once,
    },
};

/// The tables with rows of an account, each listed before the tables that it references. Triggers and foreign keys delete the rows of side
/// tables and of the message index; attachments are deleted when their files are removed.
pub const TABLES: [&str; 33] = [
    "announcements",
    "audit_events",
    "consumer_shards",
    "consumers",
    "events",
    "erasures",
    "contact_merges",
    "idempotency_keys",
    "messages",
    "labelings",
    "conversation_participants",
    "presences",
    "assignment_turns",
    "conversations",
    "contact_notes",
    "contact_inboxes",
    "contacts",
    "inbox_members",
    "team_members",
    "teams",
    "labels",
    "custom_attribute_definitions",
    "canned_responses",
    "mails",
    "inboxes",
    "api_channels",
    "agent_bots",
    "tokens",
    "memberships",
    "former_members",
    "search_positions",
    "trimmed_events",
    "account_logs",
];

/// Maximum number of rows per statement, so that other statements wait for its locks only briefly.
const ROWS: u64 = 2000;

impl Accounts {
    /// Closes an account permanently. When this returns, no caller has access to it. A background job removes its rows and files.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is the operator, and [`Error::NotFound`] if there is no such account.
    pub async fn delete(&self, call: Call<()>) -> Result<Answer<()>> {
        call.caller.platform()?;
        let answer = self
            .context
            .writer
            .write(call, |write| {
                Box::pin(async move {
                    let mut row = write.account().as_ref().clone();
                    let before = row.status;
                    row.status = AccountStatus::Deleted;
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.account = Arc::new(row);
                    membership::Entity::delete_many()
                        .filter(membership::Column::AccountId.eq(write.account().id))
                        .exec(&write.txn)
                        .await?;
                    token::Entity::delete_many()
                        .filter(token::Column::AccountId.eq(write.account().id))
                        .exec(&write.txn)
                        .await?;
                    let change = Change::new("status", before.name(), AccountStatus::Deleted.name());
                    write.set.emit(PendingEvent {
                        kind: EventKind::AccountUpdated,
                        subject: Subject::Account,
                        changes: change.into_iter().collect(),
                    });
                    Ok(())
                })
            })
            .await;
        self.context.tokens.forget();
        answer
    }
}

impl Users {
    /// Deletes a user: first the memberships, with an event in the log of each account, and then the user itself. The user's messages
    /// remain, without a sender. A deletion that was interrupted is completed by calling this again.
    ///
    /// # Errors
    /// Returns [`Error::Denied`] unless the caller is the operator, and [`Error::NotFound`] if there is no such user.
    pub async fn delete(&self, call: Call<()>, id: UserId) -> Result<Answer<()>> {
        call.caller.platform()?;
        for account in self.accounts_of(id).await? {
            let one = Call {
                caller: Arc::clone(&call.caller),
                account,
                key: None,
                traceparent: call.traceparent.clone(),
            };
            match Members::new(&self.context).delete(one, id).await {
                // Another call has ended the membership, or the account is being deleted.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let answer = once(&self.context.db, call, move |txn| {
            Box::pin(async move {
                token::Entity::delete_many().filter(token::Column::UserId.eq(id)).exec(txn).await?;
                conversation_participant::Entity::delete_many()
                    .filter(conversation_participant::Column::UserId.eq(id))
                    .exec(txn)
                    .await?;
                let gone = user::Entity::delete_by_id(id).exec(txn).await?;
                if gone.rows_affected == 0 {
                    return Err(Error::not_found("user", id));
                }
                Ok(((), None))
            })
        })
        .await;
        self.context.tokens.forget();
        answer
    }
}

/// Deletes rows of an account that is marked as deleted, with at most `statements` statements, and returns the number of deleted rows. The
/// account's own row is deleted last, so that an interrupted deletion can be continued.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn empty_deleted(db: &Database, statements: usize) -> Result<u64> {
    let deleted = account::Entity::find()
        .filter(account::Column::Status.eq(AccountStatus::Deleted))
        .order_by_asc(account::Column::Id)
        .one(db.write())
        .await?;
    let Some(account) = deleted else { return Ok(0) };
    let (mut rows, mut left) = (0, statements);
    for table in TABLES {
        loop {
            if left == 0 {
                return Ok(rows);
            }
            left -= 1;
            let gone = delete_some(db, table, account.id).await?;
            rows += gone;
            if gone < ROWS {
                break;
            }
        }
    }
    rows::release(db.write(), attachment::Column::AccountId.eq(account.id)).await?;
    let waiting = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(account.id))
        .count(db.write())
        .await?;
    if waiting == 0 {
        account::Entity::delete_by_id(account.id).exec(db.write()).await?;
        tracing::info!(account = %account.id, "finished removing a deleted account");
        rows += 1;
    }
    Ok(rows)
}

async fn delete_some(db: &Database, table: &str, account: AccountId) -> Result<u64> {
    let dialect = db.dialect();
    let delete = dialect.unbound_statement(dialect.delete_batch(table, account, ROWS));
    let done = db.write().execute_raw(delete).await?;
    Ok(done.rows_affected())
}
