//! Changes of contacts, with their sessions, labels, attributes and notes.

use parley_proto as pb;
use prost_types::FieldMask;
use rand::{Rng as _, seq::IndexedRandom as _};
use uuid::Uuid;

use super::{Desk, Person, call, key, value};

impl Desk {
    pub(super) async fn meet(&mut self) -> Option<()> {
        let name = format!("Person {}", Uuid::new_v4());
        let request = pb::CreateContactRequest {
            account_id: self.post.account,
            request_id: key(),
            name: name.clone(),
            inbox_id: Some(self.post.inbox),
            ..Default::default()
        };
        let answer = call!(self, contacts.create_contact, request)?;
        let id = answer.contact?.id;
        self.done("create_contact", "contact.created", ("contact", id), answer.cursor);
        self.people.push(Person {
            id,
            name,
            source: answer.contact_inbox?.source_id,
        });
        Some(())
    }

    pub(super) async fn rename(&mut self) -> Option<()> {
        let person = self.people.choose(&mut self.choices)?.clone();
        self.number += 1;
        // Names are unique, so that a name found in a row identifies its contact.
        let name = format!("{} the {}th", person.name, self.number);
        self.change(
            person.id,
            pb::Contact {
                name,
                ..pb::Contact::default()
            },
            "name",
        )
        .await
    }

    pub(super) async fn mark(&mut self) -> Option<()> {
        let id = self.people.choose(&mut self.choices)?.id;
        self.number += 1;
        let labels = vec![format!("kind-{}", self.number)];
        self.change(
            id,
            pb::Contact {
                labels,
                ..pb::Contact::default()
            },
            "labels",
        )
        .await
    }

    pub(super) async fn describe(&mut self) -> Option<()> {
        let id = self.people.choose(&mut self.choices)?.id;
        self.number += 1;
        let custom_attributes = Some(value("customer", &format!("value {}", self.number)));
        let contact = pb::Contact {
            custom_attributes,
            ..pb::Contact::default()
        };
        self.change(id, contact, "custom_attributes").await
    }

    /// Changes one field of a contact.
    async fn change(&mut self, id: i64, contact: pb::Contact, path: &str) -> Option<()> {
        let request = pb::UpdateContactRequest {
            account_id: self.post.account,
            request_id: key(),
            contact: Some(pb::Contact { id, ..contact }),
            update_mask: Some(FieldMask {
                paths: vec![path.to_owned()],
            }),
        };
        let answer = call!(self, contacts.update_contact, request)?;
        self.done("update_contact", "contact.updated", ("contact", id), answer.cursor);
        Some(())
    }

    /// Adds a note to a contact, which is erased together with the contact.
    pub(super) async fn note(&mut self) -> Option<()> {
        let contact = self.people.choose(&mut self.choices)?.clone();
        self.number += 1;
        let request = pb::CreateContactNoteRequest {
            account_id: self.post.account,
            request_id: key(),
            contact_id: contact.id,
            contact_note: Some(pb::ContactNote {
                content: format!("{} called for the {}th time", contact.name, self.number),
                ..pb::ContactNote::default()
            }),
        };
        let answer = call!(self, ContactNotesServiceClient::create_contact_note, request)?;
        let id = answer.contact_note?.id;
        self.done("create_contact_note", "contact_note.created", ("contact_note", id), answer.cursor);
        Some(())
    }

    pub(super) async fn merge(&mut self) -> Option<()> {
        // Creates both contacts for the merge, so that the mergee has no conversation that other steps write to.
        self.meet().await?;
        self.meet().await?;
        let (mergee, base) = (self.people.pop()?, self.people.pop()?);
        let request = pb::MergeContactsRequest {
            account_id: self.post.account,
            request_id: key(),
            base_contact_id: base.id,
            mergee_contact_id: mergee.id,
        };
        let answer = call!(self, contacts.merge_contacts, request)?;
        self.done("merge_contacts", "contact.merged", ("contact", base.id), answer.cursor);
        Some(())
    }

    /// Deletes a contact with all its conversations.
    pub(super) async fn erase(&mut self) -> Option<()> {
        let index = self.choices.random_range(0..self.people.len());
        let person = self.people.swap_remove(index);
        self.talks.retain(|talk| talk.contact != person.id);
        let request = pb::DeleteContactRequest {
            account_id: self.post.account,
            request_id: key(),
            contact_id: person.id,
        };
        let answer = call!(self, contacts.delete_contact, request)?;
        self.done("delete_contact", "contact.deleted", ("contact", person.id), answer.cursor);
        let account = self.post.account;
        self.post.note(|history| history.erased.push((account, person.id, person.name)));
        Some(())
    }
}
