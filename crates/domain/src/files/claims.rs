//! Attaches uploads to new messages.

use crate::files::new_attachment::Attached;
use crate::files::new_attachment::PendingAttachment;
use crate::files::new_attachment::Plain;
use crate::files::rows::Uploads;
use crate::files::rows::is_free;
use std::collections::VecDeque;

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::{
    error::{Error, FieldViolation, Result, Rule},
    id::{AccountId, MessageId},
    time::Micros,
};

use crate::messages::new_message::NewMessage;

/// The attachments that new messages can use: existing uploads, and reserved ids for attachment rows that are stored together with the
/// messages.
#[derive(Clone, Debug, Default)]
pub struct Available {
    /// The uploads that the new messages refer to.
    pub uploads: Uploads,
    /// Reserved ids for new attachment rows.
    pub ids: VecDeque<i64>,
}

fn row(account: AccountId, id: i64, plain: Plain) -> attachment::Model {
    attachment::Model {
        id,
        account_id: account,
        message_id: MessageId(0),
        file_type: plain.kind,
        extension: None,
        data_url: plain.url,
        thumb_url: String::new(),
        file_size: None,
        width: None,
        height: None,
        latitude: plain.place.map(|place| place.0),
        longitude: plain.place.map(|place| place.1),
        fallback_title: plain.title,
        meta: plain.meta,
        created_at: Micros::now(),
        state: AttachmentState::Uploaded,
        object: None,
        file_name: String::new(),
        content_type: String::new(),
        thumb_size: None,
        position: 0,
        contact_inbox_id: None,
    }
}

pub(super) fn field(nth: usize, count: usize, name: &str) -> String {
    if count == 1 {
        format!("message.{name}")
    } else {
        format!("messages[{nth}].message.{name}")
    }
}

pub(super) fn unknown(nth: usize, count: usize, at: usize) -> FieldViolation {
    let field = field(nth, count, &format!("attachments[{at}]"));
    FieldViolation::new(field, Rule::Unknown, "must be the upload_id of an unattached file of this account")
}

/// Resolves the attachments of a message, which has the index `nth` among the `count` messages of its request. Removes each attachment from
/// `available` and adds it to the message.
///
/// # Errors
/// Returns [`Error::Invalid`] if an upload is not available.
pub fn take(available: &mut Available, new: &mut NewMessage, account: AccountId, (nth, count): (usize, usize)) -> Result<()> {
    for (at, attachment) in std::mem::take(&mut new.pending_attachments).into_iter().enumerate() {
        let attached = match attachment {
            PendingAttachment::Upload(id) => {
                let row = available.uploads.remove(&id).filter(is_free);
                Attached {
                    row: row.ok_or_else(|| Error::Invalid(vec![unknown(nth, count, at)]))?,
                    is_new: false,
                }
            }
            PendingAttachment::Plain(plain) => {
                let id = available.ids.pop_front();
                let id = id.ok_or_else(|| Error::Internal("too few attachment ids were reserved".to_owned()))?;
                Attached {
                    row: row(account, id, *plain),
                    is_new: true,
                }
            }
        };
        new.attachments.push(attached);
    }
    Ok(())
}
