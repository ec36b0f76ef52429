//! Charges requests without a good token to the address of their client, before anything of their body is read.

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
    request_memory::{Holder, RequestMemory, Sender},
};

use crate::{errors::Failure, params::INLINE_BYTES};

/// Charges a request that shows no token, or one that is not known to be good. One whose token is good is charged where the token is looked up:
/// by the call that it leads to. A body that cannot be read leads to none.
///
/// A charged request with a large body waits among those of strangers until it is read. So the token of such a request is looked up here: a
/// member whose token was not used lately does not wait for strangers.
pub async fn charge(State((limits, memory)): State<(Arc<AnonymousLimits>, RequestMemory)>, mut request: Request, next: Next) -> Response {
    let sender = Sender::of(request.headers(), request.extensions());
    if memory.holder(&sender) != Holder::Known && !(is_large(request.body()) && memory.has_good_token(&sender).await) {
        match limits.call(request.extensions().get::<ClientAddress>().copied()) {
            Ok(()) => {
                request.extensions_mut().insert(Charged);
            }
            // Others have used up the address: a token that was not used lately is looked up, within the failed authentications of the address.
            Err(_) if memory.has_good_token(&sender).await => {}
            Err(exceeded) => return Failure::from(exceeded).into_response(),
        }
    }
    next.run(request).await
}

/// Whether a body is read on a pool, as far as its length is known.
fn is_large(body: &Body) -> bool {
    let length = body.size_hint().exact();
    length.is_none_or(|bytes| bytes > INLINE_BYTES as u64)
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::too_many(exceeded.retry_after.max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, Router, middleware::from_fn_with_state, routing::post};
    use futures_util::future::BoxFuture;
    use parley_admission::{rate_limit::Config, request_memory::KnownTokens};
    use tower::ServiceExt as _;

    use super::*;

    /// Tokens of which none was used lately, and one is good.
    #[derive(Debug)]
    struct Unused;

    impl KnownTokens for Unused {
        fn is_known(&self, _: &str) -> bool {
            false
        }

        fn look_up<'a>(&'a self, _: Option<ClientAddress>, secret: &'a str) -> BoxFuture<'a, bool> {
            Box::pin(async move { secret == "good" })
        }
    }

    /// Whether a request with a body of this length waits among those of strangers.
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
    async fn large_bodies_of_members_do_not_wait_among_those_of_strangers() {
        assert!(
            is_charged("good", INLINE_BYTES).await,
            "a small body is read before its token is looked up"
        );
        assert!(!is_charged("good", INLINE_BYTES + 1).await);
        assert!(is_charged("bad", INLINE_BYTES + 1).await);
    }
}
