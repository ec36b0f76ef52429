//! Access by name to the optional strings of messages. The build script generates the implementations from the contract.

/// An optional string field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalString {
    /// The name of the field.
    pub name: &'static str,
    /// The comment on the field in its `.proto` file.
    pub comment: &'static str,
}

/// A message whose optional strings can be accessed by name.
pub trait OptionalStrings {
    /// The optional strings, in the order of their field numbers.
    const OPTIONAL_STRINGS: &'static [OptionalString];

    /// Returns the optional string with this name, or `None` if it is absent or the message has no such field.
    fn optional_string(&self, name: &str) -> Option<&str>;

    /// Returns a mutable reference to the optional string with this name, or `None` if the message has no such field.
    fn optional_string_mut(&mut self, name: &str) -> Option<&mut Option<String>>;
}

include!(concat!(env!("OUT_DIR"), "/optional_strings.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contact, CreateContactRequest};

    #[test]
    fn optional_strings_are_accessed_by_field_name() {
        let mut contact = Contact {
            email: Some("ana@example.org".to_owned()),
            ..Contact::default()
        };
        assert_eq!(contact.optional_string("email"), Some("ana@example.org"));
        assert_eq!(contact.optional_string("identifier"), None);
        assert_eq!(contact.optional_string_mut("identifier"), Some(&mut None));
        // `name` is a string that is not optional, and `blocked` is not a string.
        for other in ["name", "blocked", "no_such_field"] {
            assert_eq!(contact.optional_string_mut(other), None, "{other}");
        }
    }

    #[test]
    fn optional_strings_have_contract_comments() {
        let names: Vec<_> = CreateContactRequest::OPTIONAL_STRINGS.iter().map(|string| string.name).collect();
        assert_eq!(names[..3], ["email", "phone_number", "identifier"]);
        assert_eq!(
            CreateContactRequest::OPTIONAL_STRINGS[2].comment,
            "The contact's ID in the caller's own system, at most 255 characters, unique in the account. May be absent or empty."
        );
    }
}
