//! The REST gateway. It implements the JSON API that `OneHash` Chat and Chatwoot document for agents and back offices, as a client of
//! Parley's gRPC services.
//!
//! A JSON request is converted to a Protobuf request, the generated client sends it through the same middleware as a call from the network,
//! and the Protobuf response is converted to JSON. The services are responsible for authorization, validation and storage; this crate only
//! converts.

mod api_router;
mod call;
mod config;
mod errors;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod json;
mod layers;
mod lists;
mod openapi;
pub mod origins;
mod params;
mod realtime;
mod resources;
pub mod route_table;
mod routing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
};
use tonic::service::Routes;
use tower::{Layer as _, util::MapRequestLayer};

pub use config::Config;
pub use params::form_files::DiscardUploads;

use api_router::ApiRouter;
use errors::ApiResult;

/// Paths of Chatwoot's API that Parley does not implement. They must be listed so that, for example, `import` is not parsed as a contact
/// id.
const UNIMPLEMENTED_PATHS: [&str; 2] = [
    "/api/v1/accounts/{account_id}/contacts/import",
    "/api/v1/accounts/{account_id}/contacts/export",
];

/// Returns all routes with their descriptions, except the routes that serve the `OpenAPI` document and its page.
fn routes() -> ApiRouter {
    resources::profile::routes()
        .merge(resources::installation::routes())
        .merge(resources::accounts::routes())
        .merge(resources::inboxes::routes())
        .merge(resources::agent_bots::routes())
        .merge(resources::client::routes())
        .merge(resources::client_conversations::routes())
        .merge(resources::platform::routes())
        .merge(resources::platform_users::routes())
        .merge(resources::platform_bots::routes())
        .merge(resources::contact_list::routes())
        .merge(resources::contacts::routes())
        .merge(resources::contact_relations::routes())
        .merge(resources::filters::routes())
        .merge(resources::conversations::routes())
        .merge(resources::conversation_list::routes())
        .merge(resources::conversation_changes::routes())
        .merge(resources::conversation_state::routes())
        .merge(resources::assignments::routes())
        .merge(resources::messages::routes())
        .merge(resources::search::routes())
        .merge(realtime::server_sent_events::routes())
        .merge(resources::files::routes())
        .merge(resources::teams::routes())
        .merge(resources::agents::routes())
        .merge(resources::inbox_members::routes())
        .merge(resources::labels::routes())
        .merge(resources::audit_logs::routes())
        .merge(resources::custom_attribute_definitions::routes())
        .merge(resources::canned_responses::routes())
        .merge(resources::contact_notes::routes())
        .merge(resources::unsupported_features::routes())
}

/// Builds the REST gateway. `services` are the gRPC services that the gRPC listener serves, including their middleware.
#[allow(clippy::needless_pass_by_value)] // the gateway owns its configuration
pub fn router(services: Routes, config: Config) -> Router {
    let router = routing::router(routes(), services, &config, &UNIMPLEMENTED_PATHS)
        .layer(middleware::from_fn({
            let discard = config.discard_uploads.clone();
            move |request: Request, next: Next| params::form_files::discard_unused(discard.clone(), request, next)
        }))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let shared = (config.memory.clone(), Arc::clone(&config.anonymous));
            params::body_memory::charge(shared, config.max_body_bytes, request, next)
        }))
        .layer(middleware::from_fn_with_state(
            layers::cors::Cors::new(config.cors),
            layers::cors::answer,
        ))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            layers::trace::watch(config.scheme, request, next)
        }));
    // The layers of a router run after routing, so the path is normalized by a service that wraps the router.
    Router::new().fallback_service(MapRequestLayer::new(layers::paths::normalize).layer(router))
}
