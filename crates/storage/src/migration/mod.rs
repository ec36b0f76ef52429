//! The migrations, one a file, the same on SQLite and PostgreSQL. Never change one that was released: add another.
//!
//! A migration only adds, because older programs go on while a newer one migrates, and may have to come back: new columns may be
//! null or have a default. What takes something away is for a release in which no program that needs it is left, and raises [`FLOOR`].
//!
//! Hot tables (messages, events) have no foreign keys: the writer makes their rows, in one transaction with what they
//! point at, and a check per row would cost a quarter of its speed.

use sea_orm_migration::prelude::*;

mod m20261123_000001_accounts;
mod m20261123_000002_inboxes;
mod m20261123_000003_contacts;
mod m20261123_000004_conversations;
mod m20261123_000005_log;
mod m20261123_000006_activity_hour;
mod m20261123_000007_teams;
mod m20261123_000008_records;
mod m20261123_000010_teamwork;
mod m20261123_000012_automatic_texts;
mod m20261123_000013_message_search;
mod m20261123_000014_lists;
mod m20261123_000015_files;
mod m20261123_000016_agent_bots;
mod m20261123_000017_mails;
mod m20261123_000018_account_details;
mod m20261123_000019_consumers;
mod m20261123_000020_logins;
mod m20261123_000021_schema_floor;
mod m20261127_000022_conversation_lists;
mod m20261127_000023_contact_pieces;
mod m20261127_000024_announcements;
mod m20261128_000025_attribute_values;
mod m20261129_000026_bounded_pieces;
mod m20261129_000028_submitted_identity;
mod m20261129_000029_idempotency_owner;
mod m20261129_000030_audit_events;
mod m20261129_000031_member_names;
mod m20261129_000032_upload_owners;
mod m20261130_000036_folded_labels;
mod m20261130_000038_cursor_marks;

/// The oldest program that works on the tables of this one, told by the newest migration that it knows. The database keeps it, and a
/// program that is older refuses to start there.
pub const FLOOR: &str = "m20261123_000019_consumers";

/// Runs the migrations in this order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_accounts::Migration),
            Box::new(m20261123_000002_inboxes::Migration),
            Box::new(m20261123_000003_contacts::Migration),
            Box::new(m20261123_000004_conversations::Migration),
            Box::new(m20261123_000005_log::Migration),
            Box::new(m20261123_000006_activity_hour::Migration),
            Box::new(m20261123_000007_teams::Migration),
            Box::new(m20261123_000008_records::Migration),
            Box::new(m20261123_000010_teamwork::Migration),
            Box::new(m20261123_000012_automatic_texts::Migration),
            Box::new(m20261123_000013_message_search::Migration),
            Box::new(m20261123_000014_lists::Migration),
            Box::new(m20261123_000015_files::Migration),
            Box::new(m20261123_000016_agent_bots::Migration),
            Box::new(m20261123_000017_mails::Migration),
            Box::new(m20261123_000018_account_details::Migration),
            Box::new(m20261123_000019_consumers::Migration),
            Box::new(m20261123_000020_logins::Migration),
            Box::new(m20261123_000021_schema_floor::Migration),
            Box::new(m20261127_000022_conversation_lists::Migration),
            Box::new(m20261127_000023_contact_pieces::Migration),
            Box::new(m20261127_000024_announcements::Migration),
            Box::new(m20261128_000025_attribute_values::Migration),
            Box::new(m20261129_000026_bounded_pieces::Migration),
            Box::new(m20261129_000028_submitted_identity::Migration),
            Box::new(m20261129_000029_idempotency_owner::Migration),
            Box::new(m20261129_000030_audit_events::Migration),
            Box::new(m20261129_000031_member_names::Migration),
            Box::new(m20261129_000032_upload_owners::Migration),
            Box::new(m20261130_000036_folded_labels::Migration),
            Box::new(m20261130_000038_cursor_marks::Migration),
        ]
    }
}

/// A required 64-bit column: ids, positions, microseconds.
fn int(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().not_null().take()
}

/// A 64-bit column that may be null.
fn maybe_int(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().null().take()
}

/// A required column of an enum's number.
fn kind(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).small_integer().not_null().take()
}

/// The primary key that the database counts.
fn id() -> ColumnDef {
    ColumnDef::new(Alias::new("id"))
        .big_integer()
        .not_null()
        .auto_increment()
        .primary_key()
        .take()
}

/// A required text column; lengths are limited where requests are read.
fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().not_null().take()
}

/// A text column that may be null.
fn maybe_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().null().take()
}

/// A required boolean column.
fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).boolean().not_null().take()
}

/// A required JSON column.
fn json(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).json_binary().not_null().take()
}

/// A required column of bytes.
fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).blob().not_null().take()
}

/// A table with these columns and, unless a column is it, this primary key.
fn table(name: &'static str, key: &[&'static str], columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).take();
    for column in columns {
        table.col(column);
    }
    if !key.is_empty() {
        let mut index = Index::create();
        for column in key {
            index.col(Alias::new(*column));
        }
        table.primary_key(&mut index);
    }
    table
}

/// An index named after its table and columns.
fn index(on: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create()
        .name(format!("{on}_{}", columns.join("_")))
        .table(Alias::new(on))
        .take();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

/// A unique index named after its table and columns.
fn unique(on: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    index(on, columns).unique().take()
}

/// A column that points at the `id` of another table and goes with it.
fn belongs(on: &'static str, column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{on}_{column}"))
        .from(Alias::new(on), Alias::new(column))
        .to(Alias::new(to), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
