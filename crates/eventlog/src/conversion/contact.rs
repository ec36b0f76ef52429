//! Conversion of contacts and their sessions.

use parley_proto::{
    self as pb,
    optional_strings::OptionalStrings as _,
    value::{AttributeMaps, maybe_timestamp, timestamp},
};
use parley_storage::{
    entity::{contact, contact_inbox},
    joined,
};
use parley_types::time::Micros;
use prost::Message as _;

use super::{FromStored, ToProto};

impl FromStored<&joined::Contact> for pb::Contact {
    fn from_stored(contact: &joined::Contact) -> Self {
        let row = &contact.row;
        let mut maps = AttributeMaps::default();
        let mut converted = Self {
            id: row.id.0,
            account_id: row.account_id.0,
            name: row.name.clone(),
            blocked: row.blocked,
            additional_attributes: maps.structure("additional_attributes", &row.additional_attributes),
            custom_attributes: maps.structure("custom_attributes", &row.custom_attributes),
            truncated_fields: maps.truncated(),
            avatar_url: row.avatar_url.clone(),
            last_activity_at: maybe_timestamp(row.last_activity_at),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
            labels: contact.labels.clone(),
            contact_inboxes: Vec::new(),
            version: row.version.to_wire(),
            is_online: contact.online(Micros::now()),
            ..Self::default()
        };
        for text in contact::TEXTS {
            if let Some(field) = converted.optional_string_mut(text.name) {
                *field = text.of(row).map(str::to_owned);
            }
        }
        converted
    }
}

/// Maximum size of `contact_inboxes` in a contact, in bytes. `ListContactSessions` returns the rest, page by page.
const SESSIONS: usize = 512 * 1024;

impl FromStored<&joined::ContactSessions> for pb::Contact {
    fn from_stored(contact: &joined::ContactSessions) -> Self {
        let mut whole = Self::from_stored(&contact.contact);
        let mut bytes = 0;
        for session in contact.sessions.iter().map(pb::ContactInbox::from_stored) {
            bytes += session.encoded_len();
            if bytes > SESSIONS {
                break;
            }
            whole.contact_inboxes.push(session);
        }
        if contact.more_sessions || whole.contact_inboxes.len() < contact.sessions.len() {
            whole.truncated_fields.push("contact_inboxes".to_owned());
        }
        whole
    }
}

/// Converts a contact session as events contain it: without the details of its inbox.
impl FromStored<&contact_inbox::Model> for pb::ContactInbox {
    fn from_stored(row: &contact_inbox::Model) -> Self {
        Self {
            id: row.id.0,
            contact_id: row.contact_id.0,
            inbox_id: row.inbox_id.0,
            source_id: row.source_id.clone(),
            hmac_verified: row.hmac_verified,
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
            inbox: None,
            possible_duplicate_contact_id: row.possible_duplicate_id.filter(|id| *id != row.contact_id).map(|id| id.0),
        }
    }
}

impl FromStored<&joined::Session> for pb::ContactInbox {
    fn from_stored(session: &joined::Session) -> Self {
        Self {
            inbox: Some(session.inbox.as_ref().to_proto()),
            ..Self::from_stored(&session.row)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parley_proto::optional_strings::OptionalString;
    use parley_types::id::{AccountId, Seq};

    use super::*;

    fn names(strings: &[OptionalString]) -> BTreeSet<&str> {
        strings.iter().map(|string| string.name).collect()
    }

    /// A text that one of the messages lacks could not be read or set.
    #[test]
    fn contract_has_every_contact_text() {
        let texts: BTreeSet<&str> = contact::TEXTS.iter().map(|text| text.name).collect();
        assert_eq!(names(pb::Contact::OPTIONAL_STRINGS), texts);
        assert!(texts.is_subset(&names(pb::CreateContactRequest::OPTIONAL_STRINGS)));
    }

    #[test]
    fn texts_are_converted_by_name() {
        let mut row = contact::Model::new(AccountId(7), Micros(0), Seq(3));
        for text in contact::TEXTS {
            text.set(&mut row, Some(format!("the {}", text.name)));
        }
        let stored = joined::Contact {
            row,
            labels: Vec::new(),
            seen_at: None,
        };
        let converted = pb::Contact::from_stored(&stored);
        for text in contact::TEXTS {
            assert_eq!(converted.optional_string(text.name), Some(format!("the {}", text.name).as_str()));
        }
    }
}
