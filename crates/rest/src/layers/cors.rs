//! Which pages may call from a browser: for each API the origins, and the answers to preflights.
//!
//! Calls carry a token or an identifier that a page must know, and no cookies, so no page can act in the name of somebody who merely
//! visits it. The headers are on every answer, refusals included: without them a page cannot read why it was refused.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, Method, header::ACCESS_CONTROL_REQUEST_METHOD, header::RETRY_AFTER},
    middleware::Next,
    response::Response,
};
use tower::{Layer as _, Service as _};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, Any, CorsLayer};

use crate::origins::AllowedOrigins;

/// How long a browser need not ask again.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// What a page may read of an answer besides its body.
const EXPOSED: [HeaderName; 6] = [
    HeaderName::from_static("parley-cursor"),
    HeaderName::from_static("parley-ignored"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    RETRY_AFTER,
];

/// Who may call which API.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The client API: pages of every origin.
    client: CorsLayer,
    /// The APIs that take a token, Server-Sent Events among them; none unless origins are configured.
    members: Option<CorsLayer>,
}

impl Cors {
    /// With these origins for the APIs that take a token.
    pub fn new(origins: AllowedOrigins) -> Arc<Self> {
        Arc::new(Self {
            client: layer(AllowOrigin::from(Any)),
            members: match origins {
                AllowedOrigins::None => None,
                AllowedOrigins::Any => Some(layer(AllowOrigin::from(Any))),
                AllowedOrigins::Of(origins) => Some(layer(AllowOrigin::list(origins))),
            },
        })
    }

    /// What holds for a path, which has been normalised. The platform API is for servers, and no page may call it.
    fn of(&self, path: &str) -> Option<&CorsLayer> {
        if path.starts_with("/public/api/") {
            Some(&self.client)
        } else if path.starts_with("/api/") {
            self.members.as_ref()
        } else {
            None
        }
    }
}

fn layer(origins: AllowOrigin) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        // Echoed: a wildcard does not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods(AllowMethods::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT)
}

/// Answers preflights, and adds the headers to the other answers.
pub async fn answer(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    // An OPTIONS request that is no preflight goes on, and finds no route.
    let is_plain = request.method() == Method::OPTIONS && !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let Some(layer) = cors.of(request.uri().path()).filter(|_| !is_plain) else {
        return next.run(request).await;
    };
    let answered: Result<Response, Infallible> = layer.layer(next).call(request).await;
    answered.unwrap_or_else(|never| match never {})
}
