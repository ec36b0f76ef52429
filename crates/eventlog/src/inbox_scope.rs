//! Redacts events for subscribers that are limited to certain inboxes.
//!
//! Stored events are shared by all subscribers and contain all sessions of a contact. The `source_id` of a session is a credential of the
//! client API, so a subscriber that may not see an inbox must not receive the contact's sessions in it. A service limited to inboxes sees a
//! contact in full only if a session in one of its inboxes makes the contact visible. Of other contacts, it receives only the ids and, in
//! conversations, the data that the session submitted. All frames for such services are decoded and encoded again. For other limited
//! subscribers, only frames that contain events about contacts are re-encoded. All other frames are sent as stored.

use parley_fault::Protection;
use parley_proto::{self as pb, ActorType, delivery::encoded, event::Resource, frame::Frame};
use parley_storage::{joined::ContactSessions, load};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, ConversationId, InboxId},
};
use prost::Message as _;
use sea_orm::ConnectionTrait;

use crate::conversion::InConversation;
use crate::filter::Filter;

/// Returns the frame without the contact data that the subscriber may not see. Seqs and the chain of `prev_seq` stay the same.
///
/// # Errors
/// Returns [`Error::Internal`] if the filter has no scope or the frame cannot be decoded, and [`Error::Unavailable`] or [`Error::Database`]
/// if a query fails.
pub(super) async fn redact_for_inboxes(db: &impl ConnectionTrait, account: AccountId, filter: &Filter, frame: &Frame) -> Result<Frame> {
    let Some(scope) = &filter.scope else {
        return Err(Error::Internal(
            "cannot redact events for a subscriber without an inbox scope".to_owned(),
        ));
    };
    let decoded = pb::SubscribeResponse::decode(frame.concat());
    let mut response = decoded.map_err(|error| Error::Internal(format!("a stored event cannot be decoded: {error}")))?;
    let events = || response.events.iter().filter_map(|delivery| delivery.event.as_ref());
    let seen = if filter.own_contacts {
        Some(load::opened_contacts(db, account, scope, events().filter_map(contact_of)).await?)
    } else {
        None
    };
    if filter.own_contacts {
        let events = response.events.iter_mut().filter_map(|delivery| delivery.event.as_mut());
        show_submitted(db, account, scope, &mut events.collect::<Vec<_>>()).await?;
    }
    for delivery in &mut response.events {
        let Some(event) = &mut delivery.event else { continue };
        let Some(contact) = contact_of(event) else { continue };
        if seen.as_ref().is_some_and(|seen| !seen.contains(&contact)) {
            redact(event);
        } else if parley_fault::is_on(Protection::SessionScope) {
            remove_hidden_sessions(event, scope);
        }
    }
    let mut frame = Frame::default();
    frame.push(encoded(&response));
    Ok(frame)
}

/// Replaces contacts in events for a service limited to inboxes. A contact that no session in those inboxes makes visible is replaced with
/// the data that the conversation's session submitted.
pub(super) async fn show_submitted(
    db: &impl ConnectionTrait,
    account: AccountId,
    inboxes: &[InboxId],
    items: &mut [&mut impl InConversation],
) -> Result<()> {
    let ids: Vec<i64> = items.iter().map(|item| item.conversation_id()).filter(|id| *id != 0).collect();
    let sessions = load::unopened_sessions(db, account, inboxes, ids.into_iter().map(ConversationId)).await?;
    for item in items {
        if let Some(session) = sessions.get(&ConversationId(item.conversation_id())) {
            item.show_submitted(session);
        }
    }
    Ok(())
}

/// Returns the id of the contact if an event is about a contact or a contact note.
fn contact_of(event: &pb::Event) -> Option<ContactId> {
    match &event.resource {
        Some(Resource::Contact(about)) => about.contact.as_ref().map(|contact| ContactId(contact.id)),
        Some(Resource::ContactNote(note)) => Some(ContactId(note.contact_id)),
        _ => None,
    }
}

/// Removes all contact data except the ids from an event about a contact or a contact note.
fn redact(event: &mut pb::Event) {
    event.changes.clear();
    if let Some(actor) = event.actor.as_mut().filter(|actor| actor.r#type() == ActorType::Contact) {
        actor.name.clear();
    }
    match &mut event.resource {
        Some(Resource::Contact(about)) => {
            if let Some(contact) = &mut about.contact {
                *contact = pb::Contact {
                    id: contact.id,
                    account_id: contact.account_id,
                    version: contact.version,
                    ..pb::Contact::default()
                };
            }
        }
        Some(Resource::ContactNote(note)) => {
            *note = pb::ContactNote {
                id: note.id,
                account_id: note.account_id,
                contact_id: note.contact_id,
                ..pb::ContactNote::default()
            };
        }
        _ => {}
    }
}

/// Removes the contact's sessions in inboxes outside of `scope` from an event, including those listed in `changes`.
fn remove_hidden_sessions(event: &mut pb::Event, scope: &[InboxId]) {
    let Some(Resource::Contact(about)) = &mut event.resource else {
        return;
    };
    let Some(contact) = &mut about.contact else { return };
    contact.contact_inboxes.retain(|session| scope.contains(&InboxId(session.inbox_id)));
    let sessions = &contact.contact_inboxes;
    event.changes.retain(|change| {
        let named = change.after.as_ref().and_then(|value| value.kind.as_ref());
        change.field != "contact_inboxes"
            || matches!(named, Some(prost_types::value::Kind::StringValue(name)) if sessions.iter().any(|session| &session.source_id == name))
    });
}

/// Removes from the contacts of a snapshot the sessions that the subscriber may not see.
pub(super) fn retain_visible_sessions(contacts: &mut [ContactSessions], filter: &Filter) {
    if let Some(scope) = filter.scope.as_ref().filter(|_| parley_fault::is_on(Protection::SessionScope)) {
        for contact in contacts {
            contact.keep_sessions_of(scope);
        }
    }
}
