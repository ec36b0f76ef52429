//! The entities, in one file per table. `kind` contains the enums that columns use.
//!
//! A `belongs_to` relation leads from a row to the row that it refers to. Where the schema has a foreign key, the relation uses the column
//! and the `on_delete` of that key. Otherwise (`skip_fk`), the relation uses the account and the id, so that a join never crosses accounts.
//! Only the referring side declares a relation, because modules must not import each other in cycles; `join_rev` follows it in reverse.
//! Therefore there is no relation from a conversation to its newest messages. Columns that refer to rows of several tables (`labelings`,
//! `presences`) or to rows that might be deleted (`contact_merges.contact_id`, the columns of `events`) have no relation either.

pub mod account;
pub mod account_log;
pub mod agent_bot;
pub mod announcement;
pub mod api_channel;
pub mod assignment_turn;
pub mod attachment;
pub mod audit_event;
pub mod canned_response;
pub mod consumer;
pub mod consumer_shard;
pub mod contact;
pub mod contact_inbox;
pub mod contact_merge;
pub mod contact_note;
pub mod conversation;
pub mod conversation_participant;
pub mod custom_attribute_definition;
pub mod erasure;
pub mod event;
pub mod former_member;
pub mod idempotency_key;
pub mod inbox;
pub mod inbox_member;
pub mod label;
pub mod labeling;
pub mod login;
pub mod mail;
pub mod membership;
pub mod message;
pub mod presence;
pub mod secret;
pub mod team;
pub mod team_member;
pub mod token;
pub mod trimmed_event;
pub mod user;

pub use parley_types::kind;

#[cfg(test)]
mod relation_tests;
