//! Sends transcripts, which contain the messages of a conversation, by e-mail. E-mails are queued in a table until the mail server accepts
//! them, so none is lost if the process ends.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use chrono::DateTime;
use parley_storage::{
    Database,
    entity::{kind::MessageType, mail, message},
    joined::{ConversationSummary, Message, Sender},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId},
    time::Micros,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, ExprTrait as _, Func, Query, SelectStatement},
};

use crate::{
    context::Context,
    conversations::rows::read_summary,
    mail::Mailer,
    search::scan,
    write::call::{Answer, Call},
};

/// The limits on a transcript: the maximum number of messages, of which the newest are included, and the maximum total size of their
/// content in bytes.
const MESSAGES: u64 = 1000;
const BYTES: u64 = 4 * 1024 * 1024;

/// The maximum number of transcripts per account per hour, as in Chatwoot.
const HOURLY: u64 = 30;
const HOUR: Duration = Duration::from_hours(1);

/// How long an e-mail that fails temporarily is retried, counted from its creation.
const TRIED: Duration = Duration::from_hours(24);

/// How long an e-mail is reserved for the replica that is sending it.
const TURN: Duration = Duration::from_mins(10);

/// The maximum number of e-mails that one run sends.
const TOGETHER: u64 = 20;

/// Operations on transcripts of conversations, which are sent by e-mail.
#[derive(Clone, Debug)]
pub struct Transcripts {
    context: Arc<Context>,
    /// Whether the server sends e-mails.
    is_enabled: bool,
}

impl Transcripts {
    pub(crate) fn new(context: &Arc<Context>, is_enabled: bool) -> Self {
        Self {
            context: Arc::clone(context),
            is_enabled,
        }
    }

    /// Queues an e-mail that contains the messages of a conversation, except private notes and activity messages.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox; [`Error::Busy`]
    /// if the account has reached its hourly limit; [`Error::Precondition`] if the server does not send e-mails.
    pub async fn send(&self, call: Call<()>, id: ConversationId, email: String) -> Result<Answer<()>> {
        let account = call.account;
        call.caller.write_access(account)?;
        let conversation = read_summary(self.context.db.read(), &call.caller, account, id).await?;
        if !self.is_enabled {
            return Err(Error::Precondition("emails are not sent: mail.url is not set"));
        }
        let messages = self.newest_messages(account, id).await?;
        let body = write(&conversation, &messages);
        self.context
            .writer
            .write(call, move |transaction| {
                Box::pin(async move {
                    let account: AccountId = transaction.account().id;
                    // The messages were read before this transaction began. Since this transaction holds the row lock of the account, the
                    // existence of the conversation proves that its contact has not been erased in the meantime.
                    let mut there = load::conversations(&transaction.txn, transaction.account(), &[id]).await?;
                    if there.pop().is_none() {
                        return Err(Error::not_found("conversation", id));
                    }
                    let now = Micros::now();
                    let recent = mail::Entity::find()
                        .filter(mail::Column::AccountId.eq(account))
                        .filter(mail::Column::CreatedAt.gt(now.minus(HOUR)))
                        .count(&transaction.txn)
                        .await?;
                    if recent >= HOURLY {
                        return Err(Error::Busy {
                            retry_after: Duration::from_mins(10),
                        });
                    }
                    let mail = mail::ActiveModel {
                        account_id: Set(account),
                        recipient: Set(email),
                        subject: Set(subject(id)),
                        body: Set(body),
                        created_at: Set(now),
                        // A zero timestamp makes the e-mail due immediately, regardless of clock differences between replicas.
                        next_try_at: Set(Micros::default()),
                        tries: Set(0),
                        ..Default::default()
                    };
                    mail.insert(&transaction.txn).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Returns the newest messages of a conversation, oldest first, up to the limits on a transcript. Leaves out private notes and activity
    /// messages.
    async fn newest_messages(&self, account: AccountId, id: ConversationId) -> Result<Vec<Message>> {
        let public = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::ConversationId.eq(id))
            .filter(message::Column::Private.eq(false))
            .filter(message::Column::MessageType.ne(MessageType::Activity))
            .order_by_desc(message::Column::Id)
            .limit(MESSAGES);
        let db = self.context.db.read();
        let sized = scan::sizes(public, db).await?;
        let rows = scan::with_ids(account, scan::prefix(&sized, BYTES))
            .order_by_asc(message::Column::Id)
            .all(db)
            .await?;
        load::with_senders(db, account, rows).await
    }
}

/// Returns the subject of an e-mail about a conversation. [`redact`] finds e-mails by this subject.
fn subject(id: ConversationId) -> String {
    format!("[#{id}] Conversation transcript")
}

/// Removes the recipient and the text from all e-mails about `conversations`, including e-mails that were sent within the last hour. Their
/// rows remain, because they count against the hourly limit. An e-mail that is being sent at this moment can still arrive.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the update fails.
pub(crate) async fn redact(txn: &impl ConnectionTrait, account: AccountId, conversations: SelectStatement) -> Result<()> {
    let mut subjects = Query::select();
    subjects
        .expr(Expr::cust("'[#' || about.id || '] Conversation transcript'"))
        .from_subquery(conversations, "about");
    mail::Entity::update_many()
        .col_expr(mail::Column::Recipient, Expr::value(""))
        .col_expr(mail::Column::Body, Expr::value(""))
        .col_expr(
            mail::Column::SentAt,
            Func::coalesce([Expr::col(mail::Column::SentAt), Expr::value(Micros::now())]).into(),
        )
        .filter(mail::Column::AccountId.eq(account))
        .filter(mail::Column::Subject.in_subquery(subjects))
        .exec(txn)
        .await?;
    Ok(())
}

fn write(conversation: &ConversationSummary, messages: &[Message]) -> String {
    let contact = &conversation.conversation.contact.row.name;
    let mut text = format!("Conversation #{} with {contact}\n", conversation.conversation.row.id);
    for message in messages {
        let who = match &message.sender {
            Some(Sender::Contact(contact)) => contact.row.name.as_str(),
            Some(Sender::User(user)) => user.available_name(),
            Some(Sender::AgentBot(bot)) => bot.name.as_str(),
            None if message.row.message_type == MessageType::Incoming => contact,
            None => "Automatic",
        };
        let at = DateTime::from_timestamp_micros(message.row.created_at.0).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{} {who}\n", at.format("%Y-%m-%d %H:%M UTC"));
        if let Some(content) = &message.row.content {
            let _ = writeln!(text, "{content}");
        }
        for attachment in &message.attachments {
            let title = attachment.fallback_title.as_deref().unwrap_or(&attachment.file_name);
            let _ = writeln!(text, "[{title}] {}", attachment.data_url);
        }
    }
    text
}

/// Sends the queued e-mails and returns how many were sent. An e-mail that fails temporarily is retried for a day, with delays that double
/// up to about an hour; an e-mail that is rejected permanently is dropped. If the process ends after sending an e-mail and before recording
/// it, that e-mail is sent twice. `reached` is a time that the clocks of all replicas have already reached.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if a statement fails.
pub async fn send_waiting(db: &Database, mailer: &Mailer, reached: Micros) -> Result<usize> {
    let mut sent = 0;
    for row in db.in_time(take_turn(db)).await? {
        let done = mailer.send(&row.recipient, &row.subject, row.body.clone()).await;
        let now = Micros::now();
        let mut mail = mail::ActiveModel {
            id: Set(row.id),
            ..Default::default()
        };
        match done {
            Ok(()) => {
                sent += 1;
                mail.sent_at = Set(Some(now));
                mail.body = Set(String::new());
            }
            Err(Error::Unavailable { .. }) if row.created_at > reached.minus(TRIED) => {
                mail.tries = Set(row.tries + 1);
                let wait = 30_u64 << row.tries.clamp(0, 7);
                mail.next_try_at = Set(Micros(now.0 + i64::try_from(wait * 1_000_000).unwrap_or(i64::MAX)));
            }
            Err(error) => {
                tracing::warn!(account = %row.account_id, %error, "giving up on a queued email");
                mail.sent_at = Set(Some(now));
                mail.body = Set(String::new());
            }
        }
        db.in_time(async { Ok(mail.update(db.write()).await?) }).await?;
    }
    db.in_time(forget(db, reached)).await?;
    Ok(sent)
}

/// Selects the e-mails that are due, and reserves them for this replica for the duration [`TURN`].
async fn take_turn(db: &Database) -> Result<Vec<mail::Model>> {
    let now = Micros::now();
    let due = || mail::Column::SentAt.is_null().and(mail::Column::NextTryAt.lte(now));
    let ids: Vec<i64> = mail::Entity::find()
        .select_only()
        .column(mail::Column::Id)
        .filter(due())
        .order_by_asc(mail::Column::NextTryAt)
        .limit(TOGETHER)
        .into_tuple()
        .all(db.write())
        .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let later = Micros(now.0 + i64::try_from(TURN.as_micros()).unwrap_or(i64::MAX));
    // Check again that the e-mails are due, because another replica may have reserved them in the meantime.
    let rows = mail::Entity::update_many()
        .col_expr(mail::Column::NextTryAt, Expr::value(later))
        .filter(mail::Column::Id.is_in(ids))
        .filter(due())
        .exec_with_returning(db.write())
        .await?;
    Ok(rows)
}

/// Deletes e-mails that no longer count against the hourly limit.
async fn forget(db: &Database, reached: Micros) -> Result<()> {
    mail::Entity::delete_many()
        .filter(mail::Column::SentAt.is_not_null())
        .filter(mail::Column::CreatedAt.lt(reached.minus(HOUR)))
        .exec(db.write())
        .await?;
    Ok(())
}
