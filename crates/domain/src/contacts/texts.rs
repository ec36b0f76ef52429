//! The optional text fields of contacts, and changes to them.

use parley_storage::entity::contact;

pub use parley_storage::entity::contact::{TEXTS, Text};

/// New values for optional texts of a contact; `None` removes a text. The e-mail address is in lower case.
#[derive(Clone, Debug, Default)]
pub struct ContactTexts(Vec<(Text, Option<String>)>);

impl ContactTexts {
    /// Adds a change that sets a text field to `value`, or removes the text if `value` is `None`.
    pub fn set(&mut self, text: Text, value: Option<String>) {
        self.0.push((text, value));
    }

    pub(super) fn apply(self, row: &mut contact::Model) {
        for (text, value) in self.0 {
            text.set(row, value);
        }
    }
}
