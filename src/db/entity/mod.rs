//! The rows, one file a table; `kind` holds the columns that are enums.

pub mod account;
pub mod account_log;
pub mod agent_bot;
pub mod api_channel;
pub mod assignment_turn;
pub mod attachment;
pub mod contact;
pub mod contact_inbox;
pub mod conversation;
pub mod conversation_participant;
pub mod event;
pub mod idempotency_key;
pub mod inbox;
pub mod inbox_member;
pub mod kind;
pub mod label;
pub mod labeling;
pub mod membership;
pub mod message;
pub mod presence;
pub mod token;
pub mod user;
