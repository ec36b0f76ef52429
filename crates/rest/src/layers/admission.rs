//! Middleware that charges requests without a valid token to the rate limit of the client's address, before the body is read.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, Charged, Exceeded},
    request_memory::{MemoryShare, RequestMemory, RequestSender},
};

use crate::{errors::ApiError, params::INLINE_BYTES};

/// Charges a request to the rate limit of its address if it has no token or if its token was not recently found valid. A request with a
/// valid token is instead charged by the gRPC call that it makes, which looks up the token; it is not charged if its body cannot be parsed,
/// because no gRPC call is made in that case.
///
/// A large body of a charged request is read in the queue for anonymous requests. The token of a request with a large body is therefore
/// looked up here first, so that a member whose token was not used recently does not wait behind anonymous callers.
pub async fn charge(State((limits, memory)): State<(Arc<AnonymousLimits>, RequestMemory)>, mut request: Request, next: Next) -> Response {
    let sender = RequestSender::of(request.headers(), request.extensions());
    if memory.holder(&sender) != MemoryShare::Authenticated && !(is_large(request.body()) && memory.has_valid_token(&sender).await) {
        match limits.call(request.extensions().get::<ClientAddress>().copied()) {
            Ok(()) => {
                request.extensions_mut().insert(Charged);
            }
            // The address has used up its limit, perhaps because of other clients that share it. Look up the token; an invalid one counts
            // against the address's failed authentications.
            Err(_) if memory.has_valid_token(&sender).await => {}
            Err(exceeded) => return ApiError::from(exceeded).into_response(),
        }
    }
    next.run(request).await
}

/// Returns whether a body is large enough to be parsed on a compute pool. A body of unknown length counts as large.
fn is_large(body: &Body) -> bool {
    let length = body.size_hint().exact();
    length.is_none_or(|bytes| bytes > INLINE_BYTES as u64)
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        Self::too_many(exceeded.retry_after.max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, Router, middleware::from_fn_with_state, routing::post};
    use futures_util::future::BoxFuture;
    use parley_admission::{rate_limit::Config, request_memory::TokenValidity};
    use tower::ServiceExt as _;

    use super::*;

    /// Tokens that were not used recently; only `good` is valid.
    #[derive(Debug)]
    struct Unused;

    impl TokenValidity for Unused {
        fn is_known(&self, _: &str) -> bool {
            false
        }

        fn look_up<'a>(&'a self, _: Option<ClientAddress>, secret: &'a str) -> BoxFuture<'a, bool> {
            Box::pin(async move { secret == "good" })
        }
    }

    /// Whether a request with a body of this length is charged, and so queued with anonymous requests.
    async fn is_charged(secret: &str, bytes: usize) -> bool {
        let memory = RequestMemory::unlimited().with_tokens(Arc::new(Unused));
        let state = (AnonymousLimits::new(Config::default()), memory);
        let handler = async |charged: Option<Extension<Charged>>| charged.is_some().to_string();
        let router = Router::new().route("/", post(handler)).layer(from_fn_with_state(state, charge));
        let request = Request::post("/")
            .header("api-access-token", secret)
            .body(Body::from(vec![b' '; bytes]));
        let response = router.oneshot(request.expect("a request")).await.expect("an answer");
        let text = axum::body::to_bytes(response.into_body(), 10).await.expect("a body");
        text == "true"
    }

    #[tokio::test]
    async fn authenticated_large_bodies_do_not_queue_with_anonymous_ones() {
        assert!(
            is_charged("good", INLINE_BYTES).await,
            "a small body is read before its token is looked up"
        );
        assert!(!is_charged("good", INLINE_BYTES + 1).await);
        assert!(is_charged("bad", INLINE_BYTES + 1).await);
    }
}
