//! Charges requests without a token to the address of their client, before anything of their body is read.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::error::Failure;
use crate::{
    client_address::ClientAddress,
    credential::secret,
    rate_limit::{AnonymousLimits, Charged, Exceeded},
};

/// Charges a request that shows no token. One that shows a token is charged where the token is looked up: by the call that it leads to.
pub async fn charge(State(limits): State<Arc<AnonymousLimits>>, mut request: Request, next: Next) -> Response {
    if secret(request.headers()).is_none() {
        if let Err(exceeded) = limits.call(request.extensions().get::<ClientAddress>().copied()) {
            return Failure::from(exceeded).into_response();
        }
        request.extensions_mut().insert(Charged);
    }
    next.run(request).await
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::too_many(exceeded.retry_after.max(Duration::from_secs(1)))
    }
}
