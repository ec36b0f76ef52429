//! The JSON door: what `OneHash` Chat and Chatwoot document for agents and back offices, as a client of Parley's own services.
//!
//! JSON becomes a Protobuf request, the generated client carries it through the same layers as a call from outside, and the answer becomes
//! JSON. So who may do what, what is valid, and what is stored are decided elsewhere; here it is only spelled.

mod agent_bots;
mod attributes;
mod call;
mod clock;
mod contact_relations;
mod contacts;
mod conversation_changes;
mod conversation_list;
mod conversation_marks;
mod conversations;
mod draft;
mod error;
mod exact;
mod fields;
mod filters;
mod inboxes;
mod json;
mod messages;
mod nested;
mod paging;
mod params;
mod profile;
mod sentence;
mod teamwork;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::Response,
    routing::{MethodRouter, any},
};
use tonic::service::Routes;

use error::Failure;

/// The settings of the door.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach this door, such as `https://chat.example.org`. Empty: nowhere in particular. Unused while nothing that
    /// is handed out lies here.
    pub base_url: String,
    /// The largest body that is read, in bytes; a larger one is refused with 413.
    pub max_body_bytes: usize,
}

/// What a handler answers.
type Answer = Result<Response, Failure>;

/// Paths below which the product has more than this version: without them, `active` would be taken for a contact's id.
const NOT_HERE: [&str; 3] = ["contacts/import", "contacts/export", "conversations/search"];

/// The door over services: `routes` with their layers, as the gRPC listener serves them too.
#[allow(clippy::needless_pass_by_value)] // the settings are the door's own from here on
pub fn router(routes: Routes, config: Config) -> Router {
    let mut door = Router::new()
        .merge(profile::routes())
        .merge(inboxes::routes())
        .merge(agent_bots::routes())
        .merge(contacts::routes())
        .merge(contact_relations::routes())
        .merge(filters::routes())
        .merge(conversations::routes())
        .merge(conversation_list::routes())
        .merge(conversation_changes::routes())
        .merge(conversation_marks::routes())
        .merge(teamwork::routes())
        .merge(messages::routes());
    for path in NOT_HERE {
        door = door.path(&format!("/api/v1/accounts/{{account_id}}/{path}"), any(unknown_route));
    }
    door.fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(config.max_body_bytes))
        .with_state(routes.prepare())
}

async fn unknown_route() -> Failure {
    Failure::unknown_route()
}

/// Routes that tolerate the suffix `.json`.
trait Path {
    /// Adds a path with and without the suffix; an id at its end loses the suffix when it is read.
    #[must_use]
    fn path(self, path: &str, methods: MethodRouter<Routes>) -> Self;
}

impl Path for Router<Routes> {
    fn path(self, path: &str, methods: MethodRouter<Routes>) -> Self {
        if path.ends_with('}') {
            self.route(path, methods)
        } else {
            self.route(path, methods.clone()).route(&format!("{path}.json"), methods)
        }
    }
}
