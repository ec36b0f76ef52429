//! CORS: the allowed origins of each API, and responses to preflight requests.
//!
//! Requests carry an explicit token or identifier and no cookies, so a page cannot act on behalf of a user who merely visits it. Error
//! responses also carry the CORS headers; without them, a page could not read the error.

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

/// How long browsers may cache a preflight response.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// The response headers that pages may read.
const EXPOSED: [HeaderName; 6] = [
    HeaderName::from_static("parley-cursor"),
    HeaderName::from_static("parley-ignored"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    RETRY_AFTER,
];

/// The CORS policy of each API.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The policy of the client API, which allows any origin.
    client: CorsLayer,
    /// The policy of the APIs that require a token, including Server-Sent Events; `None` if no origins are configured.
    members: Option<CorsLayer>,
}

impl Cors {
    /// Creates the policies. `origins` are the allowed origins for the APIs that require a token.
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

    /// Returns the policy for a normalized path. The platform API has none: it is meant for servers, so browsers are not allowed to call
    /// it.
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
        // Mirror the requested headers: a wildcard does not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods(AllowMethods::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT)
}

/// Responds to preflight requests, and adds the CORS headers to all other responses.
pub async fn answer(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    // An OPTIONS request that is not a preflight is passed on to the router, which has no route for it.
    let is_plain = request.method() == Method::OPTIONS && !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let Some(layer) = cors.of(request.uri().path()).filter(|_| !is_plain) else {
        return next.run(request).await;
    };
    let answered: Result<Response, Infallible> = layer.layer(next).call(request).await;
    answered.unwrap_or_else(|never| match never {})
}
