//! Erasure: what a deleted contact left in the log arrives as tombstones, at the same places.
//!
//! From the commit of the deletion on every read covers the contact's events; afterwards the rows themselves are rewritten, a bounded
//! number at a time. The chain, the counts and the filters' columns stay.

use std::collections::HashMap;

use parley_fault::Protection;
use parley_proto::{self as pb, prune, value::timestamp};
use parley_storage::{
    Database,
    entity::{contact_merge, erasure, event},
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, Seq},
    time::Micros,
};
use prost::Message as _;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, OnConflict},
};

use crate::{bounds::received, entry::Entry, log::Log};

/// Places of the log that one step of rewriting looks at.
const WINDOW: i64 = 2000;

/// Rows that one statement rewrites.
const ROWS: usize = 100;

/// Notes, in the transaction of a merge, that the events of one contact are another's now.
///
/// # Errors
/// When the database fails.
pub async fn merged(txn: &impl ConnectionTrait, account: AccountId, gone: ContactId, into: ContactId) -> Result<(), DbErr> {
    contact_merge::Entity::update_many()
        .col_expr(contact_merge::Column::IntoId, Expr::value(into.0))
        .filter(contact_merge::Column::AccountId.eq(account))
        .filter(contact_merge::Column::IntoId.eq(gone))
        .exec(txn)
        .await?;
    let row = contact_merge::ActiveModel {
        account_id: Set(account),
        contact_id: Set(gone),
        into_id: Set(into),
    };
    contact_merge::Entity::insert(row).exec_without_returning(txn).await.map(drop)
}

/// Erases, in the transaction of a deletion, the events at or below `seq` of a contact and of all it took in.
///
/// # Errors
/// When the database fails.
pub async fn erase(txn: &impl ConnectionTrait, account: AccountId, contact: ContactId, seq: Seq, at: Micros) -> Result<(), DbErr> {
    let took_in: Vec<ContactId> = contact_merge::Entity::find()
        .select_only()
        .column(contact_merge::Column::ContactId)
        .filter(contact_merge::Column::AccountId.eq(account))
        .filter(contact_merge::Column::IntoId.eq(contact))
        .into_tuple()
        .all(txn)
        .await?;
    let row = |contact| erasure::ActiveModel {
        account_id: Set(account),
        contact_id: Set(contact),
        seq: Set(seq),
        erased_at: Set(at),
        rewritten_seq: Set(Seq(0)),
        rewritten: Set(false),
    };
    let known = OnConflict::columns([erasure::Column::AccountId, erasure::Column::ContactId])
        .update_columns([erasure::Column::Seq, erasure::Column::RewrittenSeq, erasure::Column::Rewritten])
        .to_owned();
    erasure::Entity::insert_many(took_in.into_iter().chain([contact]).map(row))
        .on_conflict(known)
        .exec_without_returning(txn)
        .await
        .map(drop)
}

/// Rows of one account's log as entries, the erased ones as tombstones.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn covered(db: &impl ConnectionTrait, account: AccountId, rows: Vec<event::Model>) -> Result<Vec<Entry>, DbErr> {
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
    let cover = |mut row: event::Model| {
        row.payload = received(std::mem::take(&mut row.payload));
        let erasure = row.contact_id.and_then(|contact| erased.get(&contact));
        if let Some(erasure) = erasure.filter(|erasure| row.seq <= erasure.seq && parley_fault::is_on(Protection::Erasure)) {
            row.payload = tombstone(&row, erasure.erased_at);
        }
        Entry::from(row)
    };
    Ok(rows.into_iter().map(cover).collect())
}

/// The event without personal data: who did it to whom, what changed, and the resource are gone.
fn tombstone(row: &event::Model, erased_at: Micros) -> Vec<u8> {
    // Rows were encoded by us; of one that cannot be read nothing is kept but its place.
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

impl Log {
    /// Rewrites some of the rows that erased contacts left, and says how many. None: all are rewritten.
    ///
    /// # Errors
    /// When the database fails; what was rewritten stays so.
    pub async fn rewrite_erased(&self) -> Result<u64> {
        let db = self.database();
        let pending = erasure::Entity::find()
            .filter(erasure::Column::Rewritten.eq(false))
            .order_by_asc(erasure::Column::ErasedAt)
            .one(db.read())
            .await?;
        let Some(erasure) = pending else { return Ok(0) };
        // What was trimmed needs no rewriting.
        let earliest = self.reach(erasure.account_id).await.map_or(Seq(1), |reach| reach.earliest);
        let from = erasure.rewritten_seq.0.max(earliest.0 - 1);
        let to = (from + WINDOW).min(erasure.seq.0);
        let rows = event::Entity::find()
            .filter(event::Column::AccountId.eq(erasure.account_id))
            .filter(event::Column::Seq.gt(from))
            .filter(event::Column::Seq.lte(to))
            .filter(event::Column::ContactId.eq(erasure.contact_id))
            .all(db.read())
            .await?;
        for rows in rows.chunks(ROWS) {
            rewrite(db, &erasure, rows).await?;
        }
        erasure::Entity::update_many()
            .col_expr(erasure::Column::RewrittenSeq, Expr::value(to))
            .col_expr(erasure::Column::Rewritten, Expr::value(to >= erasure.seq.0))
            .filter(erasure::Column::AccountId.eq(erasure.account_id))
            .filter(erasure::Column::ContactId.eq(erasure.contact_id))
            .filter(erasure::Column::Seq.eq(erasure.seq))
            .exec(db.write())
            .await?;
        Ok(1 + rows.len() as u64)
    }
}

async fn rewrite(db: &Database, erasure: &erasure::Model, rows: &[event::Model]) -> Result<(), DbErr> {
    let payload = rows.iter().fold(CaseStatement::new(), |case, row| {
        case.case(event::Column::Seq.eq(row.seq), tombstone(row, erasure.erased_at))
    });
    event::Entity::update_many()
        .col_expr(event::Column::Payload, payload.finally(Expr::col(event::Column::Payload)).into())
        .filter(event::Column::AccountId.eq(erasure.account_id))
        .filter(event::Column::Seq.is_in(rows.iter().map(|row| row.seq.0)))
        .exec(db.write())
        .await
        .map(drop)
}
