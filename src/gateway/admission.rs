//! Charges requests without a token to the address of their client, before anything of their body is read.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;

use super::{call::is_token, error::Failure};
use crate::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, Charged, Exceeded},
};

/// Charges a request that shows no token. One that shows a token is charged where the token is looked up: by the call that it leads to.
pub async fn charge(State(limits): State<Arc<AnonymousLimits>>, mut request: Request, next: Next) -> Response {
    if !shows_token(request.headers()) {
        if let Err(exceeded) = limits.call(request.extensions().get::<ClientAddress>().copied()) {
            return Failure::from(exceeded).into_response();
        }
        request.extensions_mut().insert(Charged);
    }
    next.run(request).await
}

fn shows_token(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| is_token(name, value))
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::too_many(exceeded.retry_after.max(Duration::from_secs(1)))
    }
}
