//! The JSON door: what `OneHash` Chat and Chatwoot document for agents and back offices, as a client of Parley's own services.
//!
//! JSON becomes a Protobuf request, the generated client carries it through the same layers as a call from outside, and the answer becomes
//! JSON. So who may do what, what is valid, and what is stored are decided elsewhere; here it is only spelled.

mod absent_features;
mod accounts;
mod admission;
mod agent_bots;
mod agents;
mod attributes;
mod audit_logs;
mod body_memory;
mod cable;
mod call;
mod canned_responses;
mod client;
mod client_conversations;
mod clock;
mod config;
mod contact_list;
mod contact_notes;
mod contact_relations;
mod contacts;
mod conversation_changes;
mod conversation_list;
mod conversation_marks;
mod conversation_response;
mod conversations;
mod cors;
mod custom_attribute_definitions;
mod door;
mod draft;
mod early;
mod error;
mod events;
mod exact;
mod fields;
mod files;
mod filters;
mod form_files;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod held_memory;
mod ignored;
mod inbox_members;
mod inboxes;
mod installation;
mod json;
mod labels;
mod messages;
mod multipart;
mod narrowing;
mod nested;
mod openapi;
pub mod origins;
mod paging;
mod params;
mod paths;
mod platform;
mod platform_bots;
mod platform_users;
mod position;
mod profile;
pub mod route_table;
mod routing;
mod rows;
mod search;
mod sentence;
mod teams;
mod teamwork;
#[cfg(test)]
mod tests;
mod trace;
mod tree_budget;
mod understood;
mod uploads;
mod whole_body;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
};
use tonic::service::Routes;
use tower::{Layer as _, util::MapRequestLayer};

pub use config::Config;
pub use form_files::DiscardUploads;

use door::Door;
use error::Answer;

/// Paths where the product has more than this version: without them, `import` would be taken for a contact's id.
const ABSENT: [&str; 2] = [
    "/api/v1/accounts/{account_id}/contacts/import",
    "/api/v1/accounts/{account_id}/contacts/export",
];

/// Every route with its description, but for those of the description itself.
fn routes() -> Door {
    profile::routes()
        .merge(installation::routes())
        .merge(accounts::routes())
        .merge(inboxes::routes())
        .merge(agent_bots::routes())
        .merge(client::routes())
        .merge(client_conversations::routes())
        .merge(platform::routes())
        .merge(platform_users::routes())
        .merge(platform_bots::routes())
        .merge(contact_list::routes())
        .merge(contacts::routes())
        .merge(contact_relations::routes())
        .merge(filters::routes())
        .merge(conversations::routes())
        .merge(conversation_list::routes())
        .merge(conversation_changes::routes())
        .merge(conversation_marks::routes())
        .merge(teamwork::routes())
        .merge(messages::routes())
        .merge(search::routes())
        .merge(events::routes())
        .merge(files::routes())
        .merge(teams::routes())
        .merge(agents::routes())
        .merge(inbox_members::routes())
        .merge(labels::routes())
        .merge(audit_logs::routes())
        .merge(custom_attribute_definitions::routes())
        .merge(canned_responses::routes())
        .merge(contact_notes::routes())
        .merge(absent_features::routes())
}

/// The door over services: `services` with their layers, as the gRPC listener serves them too.
#[allow(clippy::needless_pass_by_value)] // the settings are the door's own from here on
pub fn router(services: Routes, config: Config) -> Router {
    let router = routing::router(routes(), services, &config, &ABSENT)
        .layer(middleware::from_fn({
            let discard = config.discard_uploads.clone();
            move |request: Request, next: Next| form_files::discard_unused(discard.clone(), request, next)
        }))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let shared = (config.memory.clone(), Arc::clone(&config.anonymous));
            body_memory::charge(shared, config.max_body_bytes, request, next)
        }))
        .layer(middleware::from_fn_with_state(cors::Cors::new(config.cors), cors::answer))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            trace::watch(config.scheme, request, next)
        }));
    // A layer of a router runs after routing, so the path is normalised by a service around it.
    Router::new().fallback_service(MapRequestLayer::new(paths::normalize).layer(router))
}
