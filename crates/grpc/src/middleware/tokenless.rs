//! Limits on services without authentication (health and reflection): their calls are charged to the client's address and counted while
//! open.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt as _;
use parley_admission::{
    rate_limit::{AnonymousLimits, Resource},
    request_memory::{MEMORY_PER_BYTE, RequestMemory, RequestSender},
};
use parley_types::error::Error;
use tonic::{Status, body::Body};

use crate::status::{no_memory, to_status};

/// The resources that a call to a service without authentication holds while it is open.
#[derive(Clone, Debug)]
pub struct TokenlessService {
    /// The limits on callers without a token.
    pub limits: Arc<AnonymousLimits>,
    /// The limit against which a call counts.
    pub resource: Resource,
    /// The memory budget that all requests share.
    pub memory: RequestMemory,
    /// The number of bytes of `memory` that each call holds.
    pub bytes: usize,
}

/// Charges a call, and holds its resources until the body of its response is dropped.
pub async fn charge(State(service): State<TokenlessService>, request: Request, next: Next) -> Response {
    match service.open(&request) {
        Ok(held) => next.run(request).await.map(|body| {
            axum::body::Body::new(body.map_frame(move |frame| {
                let _ = &held;
                frame
            }))
        }),
        Err(status) => status.into_http::<Body>().map(axum::body::Body::new),
    }
}

impl TokenlessService {
    fn open(&self, request: &Request) -> Result<impl Send + Sync + 'static, Status> {
        let address = request.extensions().get().copied();
        let permit = self.limits.call(address).and_then(|()| self.limits.open(address, self.resource));
        let permit = permit.map_err(|exceeded| to_status(Error::from(exceeded)))?;
        let sender = RequestSender::of(request.headers(), request.extensions());
        let charge = self.memory.charge(self.memory.holder(&sender));
        charge.add(self.bytes.div_ceil(MEMORY_PER_BYTE)).map_err(|_| no_memory())?;
        Ok((permit, charge))
    }
}
