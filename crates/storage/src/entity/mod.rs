//! The rows, one file a table; `kind` holds the columns that are enums.
//!
//! A `belongs_to` names the row that a row refers to. The key is the one of the schema: a single column where there is a foreign key, with the
//! `on_delete` of the schema, and otherwise (`skip_fk`) the account and the id, so that a join never leaves the account. Relations are declared at the
//! referring side alone, since modules must not import each other in circles; `join_rev` reads them the other way. So there is none from a
//! conversation to its newest messages, and none of columns that refer to rows of several tables (`labelings`, `presences`) or to rows that may be
//! gone (`contact_merges.contact_id`, the columns of `events`).

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
