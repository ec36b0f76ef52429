//! Taking uploads: what hangs on a message, and what becomes of it when the message goes.

use std::{collections::HashMap, fmt::Write as _};

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set, Statement,
    sea_query::{Expr, IntoCondition},
};
use serde_json::Value as Json;

use super::unattached;
use crate::{
    chat::{Chat, rules::NewMessage},
    db::entity::{
        attachment,
        kind::{AttachmentState, AttachmentType},
    },
    error::{Error, Result, Rule, Violation},
    id::{AccountId, MessageId},
    time::Micros,
};

/// What shall hang on a message.
#[derive(Clone, Debug)]
pub enum NewAttachment {
    /// An upload, by its signed name.
    Upload(String),
    /// Something that has no file.
    Plain(Box<Plain>),
}

/// An attachment without a file.
#[derive(Clone, Debug)]
pub struct Plain {
    /// What it is.
    pub kind: AttachmentType,
    /// A title.
    pub title: Option<String>,
    /// A URL; may be empty.
    pub url: String,
    /// Degrees north and east.
    pub place: Option<(f64, f64)>,
    /// What else is known of it; an object.
    pub meta: Json,
}

/// Uploads by their ids, as they stand.
pub type Uploads = HashMap<i64, attachment::Model>;

/// An attachment that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The attachment.
    pub id: i64,
    /// The message that takes it; 0: something else does.
    pub message: MessageId,
    /// Its place among those of the message.
    pub position: usize,
}

impl Chat {
    /// Gives whatever shall hang on the messages its row, so that its id is known when they are planned. Nothing is done for messages
    /// without anything.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many, and for names that nobody signed.
    pub(in crate::chat) async fn find_uploads(&self, account: AccountId, messages: Vec<&mut NewMessage>) -> Result<()> {
        if messages.iter().all(|new| new.wanted.is_empty()) {
            return Ok(());
        }
        let count = messages.len();
        let mut violations = Vec::new();
        let most = self.files.max_per_message();
        for (nth, new) in messages.iter().enumerate() {
            if new.wanted.len() > most {
                let text = format!("must have at most {most} entries");
                violations.push(Violation::new(field(nth, count, "attachments"), Rule::TooMany(most), text));
            }
        }
        for (nth, new) in messages.into_iter().enumerate() {
            for (at, wanted) in std::mem::take(&mut new.wanted).into_iter().enumerate() {
                match wanted {
                    NewAttachment::Upload(name) => match self.files.upload_of(&name) {
                        Some(id) => new.uploads.push(id),
                        None => violations.push(unknown(nth, count, at)),
                    },
                    NewAttachment::Plain(plain) if violations.is_empty() => {
                        new.uploads.push(row(account, *plain).insert(self.db.write()).await?.id);
                    }
                    NewAttachment::Plain(_) => {}
                }
            }
        }
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(violations))
        }
    }
}

fn row(account: AccountId, plain: Plain) -> attachment::ActiveModel {
    attachment::ActiveModel {
        account_id: Set(account),
        message_id: Set(MessageId(0)),
        file_type: Set(plain.kind),
        data_url: Set(plain.url),
        thumb_url: Set(String::new()),
        latitude: Set(plain.place.map(|place| place.0)),
        longitude: Set(plain.place.map(|place| place.1)),
        fallback_title: Set(plain.title),
        meta: Set(plain.meta),
        created_at: Set(Micros::now()),
        state: Set(AttachmentState::Uploaded),
        file_name: Set(String::new()),
        content_type: Set(String::new()),
        ..Default::default()
    }
}

fn field(nth: usize, count: usize, name: &str) -> String {
    if count == 1 {
        format!("message.{name}")
    } else {
        format!("messages[{nth}].message.{name}")
    }
}

fn unknown(nth: usize, count: usize, at: usize) -> Violation {
    let field = field(nth, count, &format!("attachments[{at}]"));
    Violation::new(
        field,
        Rule::Unknown,
        "must be the upload_id of a file of this account that nothing has taken",
    )
}

/// The uploads that are named. Read under the lock of the account's counters they stay as they are: whoever takes one holds it.
///
/// # Errors
/// When the database fails.
pub async fn uploads(db: &impl ConnectionTrait, account: AccountId, ids: Vec<i64>) -> Result<Uploads> {
    if ids.is_empty() {
        return Ok(Uploads::new());
    }
    let rows = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(account))
        .filter(attachment::Column::Id.is_in(ids))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Whether an upload is there to be taken.
pub fn is_free(row: &attachment::Model) -> bool {
    row.state == AttachmentState::Uploaded && unattached::is_fresh(row)
}

/// Takes out the uploads that a message names, the `nth` of `count`.
///
/// # Errors
/// [`Error::Invalid`] for one that is not there to be taken.
pub fn take(uploads: &mut Uploads, new: &mut NewMessage, (nth, count): (usize, usize)) -> Result<()> {
    for (at, id) in std::mem::take(&mut new.uploads).into_iter().enumerate() {
        match uploads.remove(&id).filter(is_free) {
            Some(row) => new.attachments.push(row),
            None => return Err(Error::Invalid(vec![unknown(nth, count, at)])),
        }
    }
    Ok(())
}

/// The statement that stores claims. Both databases understand it, and it holds nothing but numbers of ours.
pub fn text(claims: &[Claim]) -> String {
    let (mut messages, mut positions, mut ids) = (String::new(), String::new(), String::new());
    for Claim { id, message, position } in claims {
        // Writing to a string cannot fail.
        let _ = write!(messages, " WHEN {id} THEN {message}");
        let _ = write!(positions, " WHEN {id} THEN {position}");
        let _ = write!(ids, "{}{id}", if ids.is_empty() { "" } else { ", " });
    }
    format!(
        "UPDATE attachments SET state = {}, message_id = CASE id{messages} END, position = CASE id{positions} END WHERE id IN ({ids})",
        AttachmentState::InUse as i16,
    )
}

/// Stores claims, if there are any.
///
/// # Errors
/// When the database fails.
pub async fn store(db: &impl ConnectionTrait, claims: &[Claim]) -> Result<()> {
    if !claims.is_empty() {
        db.execute_raw(Statement::from_string(db.get_database_backend(), text(claims)))
            .await?;
    }
    Ok(())
}

/// Lets go of attachments: nothing shows them any more, and their files are removed soon.
///
/// # Errors
/// When the database fails.
pub async fn release(db: &impl ConnectionTrait, which: impl IntoCondition) -> Result<()> {
    attachment::Entity::update_many()
        .col_expr(attachment::Column::State, Expr::value(AttachmentState::Removed))
        .col_expr(attachment::Column::MessageId, Expr::value(MessageId(0)))
        .filter(which.into_condition())
        .filter(attachment::Column::State.ne(AttachmentState::Removed))
        .exec(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_one_statement() {
        let claim = |id, position| Claim {
            id,
            message: MessageId(9),
            position,
        };
        assert_eq!(
            text(&[claim(5, 0), claim(4, 1)]),
            "UPDATE attachments SET state = 1, message_id = CASE id WHEN 5 THEN 9 WHEN 4 THEN 9 END, \
             position = CASE id WHEN 5 THEN 0 WHEN 4 THEN 1 END WHERE id IN (5, 4)"
        );
    }
}
