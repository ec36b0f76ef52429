//! The migrations, one per file, for both databases. Never change a released migration; add a new one instead.
//!
//! A migration only adds to the schema, because older versions keep running during an upgrade and can be started again after it. New
//! columns are nullable or have a default. A part of the schema may be removed only in a release after the last version that needs it, and
//! that release must raise [`FLOOR`].
//!
//! Tables with many writes (messages, events) have no foreign keys: the writer inserts their rows in the same transaction as the rows that
//! they refer to, and checking each row would cost a quarter of its throughput.

use sea_orm_migration::prelude::*;

mod columns;
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

/// The oldest version that can run on the current schema, named by the newest migration that it knows. The value is stored in the database,
/// and older versions refuse to start.
pub const FLOOR: &str = "m20261123_000019_consumers";

/// Runs the migrations in the order of this list.
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
