//! The optional texts of contacts: the list, and new values of them.

use parley_storage::entity::contact;

pub use parley_storage::entity::contact::{TEXTS, Text};

/// Optional texts of a contact with their new values; `None` removes a text. The e-mail address is in lower case.
#[derive(Clone, Debug, Default)]
pub struct ContactTexts(Vec<(Text, Option<String>)>);

impl ContactTexts {
    /// Sets or removes a text.
    pub fn set(&mut self, text: Text, value: Option<String>) {
        self.0.push((text, value));
    }

    pub(super) fn apply(self, row: &mut contact::Model) {
        for (text, value) in self.0 {
            text.set(row, value);
        }
    }
}
