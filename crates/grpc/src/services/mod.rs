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
mod fit;
mod inboxes;
mod keyed;
mod labels;
mod last_cursor;
mod logins;
mod messages;
mod own_contacts;
mod participants;
mod presence;
mod presence_pace;
mod pubsub;
mod request;
mod response;
mod self_service;
mod send;
pub mod stall;
mod streams;
mod teams;
mod tokens;
