//! Contacts and their sessions on the wire.

use crate::{
    db::{entity::contact_inbox, joined},
    pb::{
        self,
        value::{maybe_timestamp, structure, timestamp},
    },
    time::Micros,
};

impl From<&joined::Contact> for pb::Contact {
    fn from(contact: &joined::Contact) -> Self {
        let row = &contact.row;
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            name: row.name.clone(),
            email: row.email.clone(),
            phone_number: row.phone_number.clone(),
            identifier: row.identifier.clone(),
            blocked: row.blocked,
            additional_attributes: structure(&row.additional_attributes),
            custom_attributes: structure(&row.custom_attributes),
            avatar_url: row.avatar_url.clone(),
            last_activity_at: maybe_timestamp(row.last_activity_at),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
            labels: contact.labels.clone(),
            contact_inboxes: Vec::new(),
            version: row.version.to_wire(),
            is_online: contact.online(Micros::now()),
        }
    }
}

impl From<&joined::ContactSessions> for pb::Contact {
    fn from(contact: &joined::ContactSessions) -> Self {
        Self {
            contact_inboxes: contact.sessions.iter().map(pb::ContactInbox::from).collect(),
            ..Self::from(&contact.contact)
        }
    }
}

/// Without the inbox, as events carry it.
impl From<&contact_inbox::Model> for pb::ContactInbox {
    fn from(row: &contact_inbox::Model) -> Self {
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

impl From<&joined::Session> for pb::ContactInbox {
    fn from(session: &joined::Session) -> Self {
        Self {
            inbox: Some(session.inbox.as_ref().into()),
            ..Self::from(&session.row)
        }
    }
}
