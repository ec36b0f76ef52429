//! Erasure: replaces the events of a deleted contact with tombstones at the same positions.
//!
//! From the commit of the deletion on, every read redacts the contact's events. Afterwards, the stored rows themselves are rewritten, a
//! bounded number at a time. The chain of events, the number of events, and the columns that filters use stay the same.

use parley_storage::{
    Database,
    entity::{contact_merge, erasure, event},
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, Seq},
    time::Micros,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, OnConflict},
};

use crate::{log::Log, redaction::tombstone};

/// The number of consecutive seqs that one call of [`Log::rewrite_erased`] covers.
const WINDOW: i64 = 2000;

/// Maximum number of rows that one statement rewrites.
const ROWS: usize = 100;

/// Records, in the transaction of a merge, that the events of the contact `gone` now belong to the contact `into`.
///
/// # Errors
/// Returns [`DbErr`] if a statement fails.
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

/// Erases, in the transaction of a deletion, the events of a contact and of all contacts that were merged into it, up to `seq`.
///
/// # Errors
/// Returns [`DbErr`] if a statement fails.
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

impl Log {
    /// Rewrites a bounded number of rows that belong to an erased contact. Returns 0 if no erasure is pending, and otherwise the number of
    /// rewritten rows plus one.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` or `Error::Database` if a statement fails. Rows that were rewritten before the failure stay rewritten.
    pub async fn rewrite_erased(&self) -> Result<u64> {
        let db = self.database();
        let pending = erasure::Entity::find()
            .filter(erasure::Column::Rewritten.eq(false))
            .order_by_asc(erasure::Column::ErasedAt)
            .one(db.read())
            .await?;
        let Some(erasure) = pending else { return Ok(0) };
        // Trimmed events need no rewriting.
        let earliest = self.range(erasure.account_id).await.map_or(Seq(1), |range| range.earliest);
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
