//! Behaviour, through the doors: every test starts the real program with a database of its own and speaks to it with real clients.

// A test that cannot go on says why and ends.
#![allow(clippy::expect_used)]
// A test makes its future once, and what a test starts is large.
#![allow(clippy::large_futures)]

#[path = "../durability/proxy.rs"]
mod proxy;
mod support;

mod agent_bots;
mod announcements;
mod article;
mod automatic_texts;
mod backup;
mod cable;
mod client_json;
mod client_now;
mod client_side;
mod clock;
mod command_line;
mod compat;
mod conformance;
mod connections;
mod contact_changes;
mod contact_json;
mod contact_merge;
mod contact_races;
mod contact_search;
mod contact_tenancy;
mod contacts;
mod contract;
mod conversation_changes;
mod conversations;
mod dialects;
mod doctor;
mod door;
mod drain;
mod drain_responses;
mod event_kinds;
mod exact_changes;
mod files;
mod filters;
mod first_messages;
mod first_start;
mod front_ends;
mod frozen;
mod full_disk;
mod golden;
mod grpc_packaging;
mod grpc_web;
mod half_open;
mod hostile;
mod idempotency;
mod idempotency_batches;
mod inboxes;
mod invariants;
mod limits;
mod listeners;
mod message_refusals;
mod messages;
mod module_cycles;
mod nats;
mod outage;
mod overload;
mod packages;
mod paging;
mod plans;
mod platform_side;
mod program;
mod protections;
mod python;
mod receipts;
mod recorded;
mod records;
mod removal;
mod replicas;
mod rest_edge;
mod restore;
mod roles;
mod search;
mod sending;
mod statements;
mod stored_rows;
mod stream;
mod teams;
mod teamwork;
mod teamwork_json;
mod telemetry;
mod tenancy;
mod times;
mod transcripts;
mod transport;
mod upgrade;
mod users;
