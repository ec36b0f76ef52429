//! The gRPC services: one file per service, and the code that they share.
//!
//! A handler takes only a few steps: authorize the caller, convert the request to a command while collecting all invalid fields, run the
//! command, and convert the result to the response.

pub mod accounts;
pub mod agent_bots;
mod agents;
pub mod audit_events;
mod canned_responses;
pub mod client;
mod consume;
pub mod consumers;
mod contact_lists;
pub mod contact_notes;
pub mod contacts;
mod conversation_lists;
pub mod conversations;
mod custom_attribute_definitions;
pub mod events;
pub mod files;
mod idempotency;
pub mod inboxes;
mod labels;
pub mod logins;
pub mod messages;
pub mod participants;
pub mod presence;
mod presence_throttle;
pub mod pubsub;
pub mod records;
mod request;
mod response;
mod restrict_contacts;
mod self_service;
mod send;
pub mod service_context;
pub mod stall;
mod stream_position;
mod streams;
pub mod teams;
mod tokens;
mod truncation;
