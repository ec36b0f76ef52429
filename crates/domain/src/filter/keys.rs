//! Defines the standard attributes that a filter can use, and the operators that each attribute allows, in the order in which error
//! messages list them.

use super::{
    model::Model,
    operator::Operator::{
        self, Contains, DaysBefore, DoesNotContain, EqualTo, IsGreaterThan, IsLessThan, IsNotPresent, IsPresent, NotEqualTo, StartsWith,
    },
};

/// The kind of an attribute, and where it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The status of a conversation.
    Status,
    /// The priority of a conversation.
    Priority,
    /// An id that is stored in the given column.
    Id(&'static str),
    /// The id of something that exists only in Chatwoot. No resource has such an id, because Parley lacks the corresponding feature.
    Never,
    /// The number of a conversation, which is unique in its account.
    Number,
    /// The labels of a contact or conversation.
    Labels,
    /// A text that is stored in the given column and compared case-insensitively.
    Text(&'static str),
    /// The e-mail address of a contact.
    Email,
    /// The phone number of a contact.
    Phone,
    /// An additional attribute with this key, and whether it is compared case-sensitively.
    Additional(&'static str, bool),
    /// A time that is stored in the given column.
    Time(&'static str),
    /// Whether a contact is blocked.
    Blocked,
}

/// A standard attribute.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// The key by which requests name the attribute.
    pub key: &'static str,
    /// The kind of the attribute, which also states where its values are stored.
    pub kind: Kind,
    /// The operators that the attribute allows.
    pub operators: &'static [Operator],
}

const EQUALITY: &[Operator] = &[EqualTo, NotEqualTo];
const PIECES: &[Operator] = &[EqualTo, NotEqualTo, Contains, DoesNotContain];
const PRESENCE: &[Operator] = &[EqualTo, NotEqualTo, IsPresent, IsNotPresent];
const TIMES: &[Operator] = &[IsGreaterThan, IsLessThan, DaysBefore];
const NUMBERS: &[Operator] = &[EqualTo, NotEqualTo, Contains, DoesNotContain, StartsWith];

const fn standard(key: &'static str, kind: Kind, operators: &'static [Operator]) -> Standard {
    Standard { key, kind, operators }
}

const CONVERSATION: [Standard; 16] = [
    standard("status", Kind::Status, EQUALITY),
    standard("assignee_id", Kind::Id("assignee_id"), PRESENCE),
    standard("inbox_id", Kind::Id("inbox_id"), PRESENCE),
    standard("team_id", Kind::Id("team_id"), PRESENCE),
    standard("priority", Kind::Priority, EQUALITY),
    standard("display_id", Kind::Number, PIECES),
    standard("campaign_id", Kind::Never, PRESENCE),
    standard("labels", Kind::Labels, PRESENCE),
    standard("browser_language", Kind::Additional("browser_language", true), EQUALITY),
    standard("conversation_language", Kind::Additional("conversation_language", true), EQUALITY),
    standard("country_code", Kind::Additional("country_code", true), EQUALITY),
    standard("referer", Kind::Additional("referer", true), PIECES),
    standard("created_at", Kind::Time("created_at"), TIMES),
    standard("last_activity_at", Kind::Time("last_activity_at"), TIMES),
    standard("mail_subject", Kind::Additional("mail_subject", true), PIECES),
    standard("contact_id", Kind::Id("contact_id"), PRESENCE),
];

const CONTACT: [Standard; 11] = [
    standard("name", Kind::Text("name"), PIECES),
    standard("phone_number", Kind::Phone, NUMBERS),
    standard("email", Kind::Email, PIECES),
    standard("identifier", Kind::Text("identifier"), EQUALITY),
    standard("country_code", Kind::Additional("country_code", false), EQUALITY),
    standard("city", Kind::Additional("city", false), PIECES),
    standard("company", Kind::Additional("company", false), PIECES),
    standard("labels", Kind::Labels, PRESENCE),
    standard("created_at", Kind::Time("created_at"), TIMES),
    standard("last_activity_at", Kind::Time("last_activity_at"), TIMES),
    standard("blocked", Kind::Blocked, EQUALITY),
];

fn all(model: Model) -> &'static [Standard] {
    match model {
        Model::Contact => &CONTACT,
        Model::Conversation => &CONVERSATION,
    }
}

/// Returns the standard attribute with this key, or `None` if there is none.
pub fn find(model: Model, key: &str) -> Option<&'static Standard> {
    all(model).iter().find(|standard| standard.key == key)
}

/// Returns the keys of all standard attributes.
pub fn names(model: Model) -> Vec<&'static str> {
    all(model).iter().map(|standard| standard.key).collect()
}
