//! Behaviour tests: every test starts the real program with its own database and uses it through the gRPC and REST APIs with real clients.

// A failed `expect` is how a test reports that it cannot continue.
#![allow(clippy::expect_used)]
// A test creates its future once, and the futures that start servers are large.
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
mod client_api;
mod client_json;
mod client_state;
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
mod drain;
mod drain_responses;
mod event_kinds;
mod exact_changes;
mod files;
mod filters;
mod first_messages;
mod first_start;
mod front_ends;
mod full_disk;
mod glossary;
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
mod platform_api;
mod program;
mod protections;
mod python;
mod receipts;
mod record_size;
mod recorded;
mod records;
mod removal;
mod replicas;
mod rest_edge;
mod restore;
mod roles;
mod routes;
mod search;
mod sending;
mod statements;
mod stored_rows;
mod stream;
mod suspended_replica;
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
