//! Reading the names of what shall hang on messages.

use parley_types::error::{Error, Result, Rule, Violation};

use super::{
    claims::{field, unknown},
    new_attachment::{Hanging, NewAttachment},
};
use crate::{Chat, messages::new_message::NewMessage};

impl Chat {
    /// Reads the names of what shall hang on the messages. Nothing is stored: that is done with the messages, if they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many, and for names that nobody signed.
    pub(crate) fn find_uploads(&self, messages: Vec<&mut NewMessage>) -> Result<()> {
        if messages.iter().all(|new| new.wanted.is_empty()) {
            return Ok(());
        }
        let count = messages.len();
        let mut violations = Vec::new();
        let most = self.files.max_per_message();
        for (nth, new) in messages.into_iter().enumerate() {
            if new.wanted.len() > most {
                let text = format!("must have at most {most} entries");
                violations.push(Violation::new(field(nth, count, "attachments"), Rule::TooMany(most), text));
            }
            for (at, wanted) in std::mem::take(&mut new.wanted).into_iter().enumerate() {
                match wanted {
                    NewAttachment::Upload(name) => match self.files.upload_of(&name) {
                        Some(id) => new.hanging.push(Hanging::Upload(id)),
                        None => violations.push(unknown(nth, count, at)),
                    },
                    NewAttachment::Plain(plain) => new.hanging.push(Hanging::Plain(plain)),
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
