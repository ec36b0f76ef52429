//! Redaction: turns the events of erased contacts into tombstones. All code that reads rows of the log applies it.

use std::collections::HashMap;

use parley_fault::Protection;
use parley_proto::{self as pb, prune, value::timestamp};
use parley_storage::entity::{erasure, event};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId},
    time::Micros,
};
use prost::Message as _;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

use crate::{event_record::EventRecord, event_size::received};

/// Converts rows of one account's log to event records, replacing the events of erased contacts with tombstones.
///
/// # Errors
/// Returns [`DbErr`] if the query fails.
pub(super) async fn redacted(db: &impl ConnectionTrait, account: AccountId, rows: Vec<event::Model>) -> Result<Vec<EventRecord>, DbErr> {
    let mut contacts: Vec<i64> = rows.iter().filter_map(|row| row.contact_id).map(i64::from).collect();
    contacts.sort_unstable();
    contacts.dedup();
    let mut erased: HashMap<ContactId, erasure::Model> = HashMap::new();
    if !contacts.is_empty() {
        let found = erasure::Entity::find()
            .filter(erasure::Column::AccountId.eq(account))
            .filter(erasure::Column::ContactId.is_in(contacts))
            .all(db)
            .await?;
        erased.extend(found.into_iter().map(|row| (row.contact_id, row)));
    }
    let redact = |mut row: event::Model| {
        row.payload = received(std::mem::take(&mut row.payload));
        let erasure = row.contact_id.and_then(|contact| erased.get(&contact));
        if let Some(erasure) = erasure.filter(|erasure| row.seq <= erasure.seq && parley_fault::is_on(Protection::Erasure)) {
            row.payload = tombstone(&row, erasure.erased_at);
        }
        EventRecord::from(row)
    };
    Ok(rows.into_iter().map(redact).collect())
}

/// Encodes the tombstone of an event, which omits the changes, the resource, and the actor if the actor is a contact.
pub(super) fn tombstone(row: &event::Model, erased_at: Micros) -> Vec<u8> {
    // The service itself encoded the rows. If a row nevertheless cannot be decoded, the tombstone contains only the data in the row's
    // columns.
    let event = pb::Event::decode(prune::event(&row.payload).as_ref()).unwrap_or_default();
    let tombstone = pb::Tombstone {
        erased_at: Some(timestamp(erased_at)),
        contact_id: row.contact_id.map(i64::from),
        conversation_id: row.conversation_id.map(i64::from),
        inbox_id: row.inbox_id.map(i64::from),
    };
    pb::Event {
        account_id: row.account_id.0,
        seq: row.seq.to_wire(),
        transaction_id: row.transaction_id.to_wire(),
        kind: row.kind.into(),
        occurred_at: Some(timestamp(row.occurred_at)),
        actor: event.actor.filter(|actor| actor.r#type() != pb::ActorType::Contact),
        changes: Vec::new(),
        resource: Some(pb::event::Resource::Tombstone(tombstone)),
        ..event
    }
    .encode_to_vec()
}
