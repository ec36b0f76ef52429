//! The gRPC services: a file per service, and what they share.
//!
//! A handler is a few lines: authorize the caller, convert the request to a command while collecting all invalid fields, run the command,
//! convert the result to the response.

mod accounts;
mod agent_bots;
mod agents;
pub mod api;
mod audit_events;
mod canned_responses;
mod client;
mod consume;
mod consumers;
mod contact_lists;
mod contact_notes;
mod contacts;
mod conversation_lists;
mod conversations;
mod custom_attribute_definitions;
mod events;
mod files;
mod idempotency;
mod inboxes;
mod labels;
mod logins;
mod messages;
mod participants;
mod presence;
mod presence_throttle;
mod pubsub;
mod request;
mod response;
mod restrict_contacts;
mod self_service;
mod send;
pub mod stall;
mod stream_position;
mod streams;
mod teams;
mod tokens;
mod truncation;
