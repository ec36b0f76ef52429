//! Charges requests without a good token to the address of their client, before anything of their body is read.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, Charged, Exceeded},
    request_memory::{Holder, RequestMemory, Sender},
};

use crate::errors::Failure;

/// Charges a request that shows no token, or one that is not known to be good. One whose token is good is charged where the token is looked up:
/// by the call that it leads to. A body that cannot be read leads to none.
pub async fn charge(State((limits, memory)): State<(Arc<AnonymousLimits>, RequestMemory)>, mut request: Request, next: Next) -> Response {
    let sender = Sender::of(request.headers(), request.extensions());
    if memory.holder(&sender) != Holder::Known {
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

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::too_many(exceeded.retry_after.max(Duration::from_secs(1)))
    }
}
