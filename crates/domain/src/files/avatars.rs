//! Handles avatars of contacts and inboxes. An avatar is an external URL, or an upload that is attached to the contact or inbox.

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::{
    error::{Error, Result, Rule},
    id::MessageId,
};
use sea_orm::{ColumnTrait, Condition};

use super::Files;
use crate::files::rows;
use crate::write;
use crate::write::Write;

/// Maximum size of an avatar in bytes, as in Chatwoot.
const LARGEST: i64 = 15 * 1024 * 1024;

/// The media types that an avatar can have, as in Chatwoot.
const TYPES: [&str; 3] = ["image/jpeg", "image/png", "image/gif"];

/// Replaces an avatar. If `after` names an upload, the upload is attached and `after` is set to its link. The file of the previous avatar
/// is released for removal.
///
/// # Errors
/// Returns [`Error::Invalid`] if the upload is not available or not an image, or if the URL is malformed or names a file that belongs to
/// something else.
pub async fn replace(files: &Files, write: &mut Write, field: &str, before: &str, after: &mut String) -> Result<()> {
    if before == after {
        return Ok(());
    }
    if let Some(id) = files.upload_of(after) {
        let account = write.account().id;
        let mut uploads = rows::uploads(&write.txn, account, vec![id]).await?;
        let row = uploads.remove(&id).filter(rows::is_free);
        let row = row.ok_or_else(|| Error::invalid(field, Rule::Unknown, "must be the upload_id of an unattached file of this account"))?;
        if !TYPES.contains(&row.content_type.as_str()) {
            return Err(Error::invalid(field, Rule::Invalid, "must be a JPEG, PNG or GIF image"));
        }
        if row.file_size.unwrap_or_default() > LARGEST {
            return Err(Error::invalid(
                field,
                Rule::OutOfRange(LARGEST),
                format!("must have at most {LARGEST} bytes"),
            ));
        }
        write.set.claim_attachment(write::AttachmentClaim {
            id,
            message: MessageId(0),
            position: 0,
        });
        *after = row.thumb_url;
    } else if files.file_of(after).is_some() {
        return Err(Error::invalid(
            field,
            Rule::Unknown,
            "must not be a file of another resource; upload the file first",
        ));
    } else if !after.is_empty() && !after.contains("://") {
        return Err(Error::invalid(
            field,
            Rule::Unknown,
            "must be an absolute http or https URL, or the upload_id of a file",
        ));
    }
    remove_replaced(files, write, before).await
}

/// Releases the file of an avatar for removal, because the avatar was replaced or its contact or inbox is deleted.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn remove_replaced(files: &Files, write: &Write, url: &str) -> Result<()> {
    let Some(id) = files.file_of(url) else { return Ok(()) };
    let owned = Condition::all()
        .add(attachment::Column::Id.eq(id))
        .add(attachment::Column::AccountId.eq(write.account().id))
        .add(attachment::Column::MessageId.eq(MessageId(0)))
        .add(attachment::Column::State.eq(AttachmentState::InUse));
    rows::release(&write.txn, owned).await
}
