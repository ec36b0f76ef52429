//! Resolves the signed upload names in new messages.

use parley_types::error::{Error, FieldViolation, Result, Rule};

use super::{
    Files,
    claims::{field, unknown},
    new_attachment::{NewAttachment, PendingAttachment},
};
use crate::messages::new_message::NewMessage;

impl Files {
    /// Verifies the upload names in new messages and replaces them with the ids of the uploads. Does not change the database: the uploads
    /// are attached when the messages are stored.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if a message has too many attachments, or if the signature of an upload name is invalid.
    pub(crate) fn resolve_uploads(&self, messages: Vec<&mut NewMessage>) -> Result<()> {
        if messages.iter().all(|new| new.wanted.is_empty()) {
            return Ok(());
        }
        let count = messages.len();
        let mut violations = Vec::new();
        let most = self.max_per_message();
        for (nth, new) in messages.into_iter().enumerate() {
            if new.wanted.len() > most {
                let text = format!("must have at most {most} entries");
                violations.push(FieldViolation::new(field(nth, count, "attachments"), Rule::TooMany(most), text));
            }
            for (at, wanted) in std::mem::take(&mut new.wanted).into_iter().enumerate() {
                match wanted {
                    NewAttachment::Upload(name) => match self.upload_of(&name) {
                        Some(id) => new.pending_attachments.push(PendingAttachment::Upload(id)),
                        None => violations.push(unknown(nth, count, at)),
                    },
                    NewAttachment::Plain(plain) => new.pending_attachments.push(PendingAttachment::Plain(plain)),
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
