//! The layer that makes a call see a position of the log.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, Either};
use http::HeaderMap;
use parley_eventlog::{cursor::Cursor, hub::Hub};
use parley_types::{cursor_text, error::Error};
use tower::{Layer, Service};

use crate::status::to_status;

use super::{
    call::{AuthenticatedCall, CallIdentity},
    response::{Response, refuse},
};

/// The headers that carry the position: in gRPC's spelling of bytes, and as text for clients without binary metadata. A cursor is read in
/// every spelling from both.
const HEADERS: [&str; 2] = ["parley-min-cursor-bin", "parley-min-cursor"];

/// Delays a call until this replica has read the log up to the position in `parley-min-cursor`, so that a client reads its own writes on any
/// replica. Only the deadline bounds the wait. Calls without the header pass without an allocation.
#[derive(Clone, Debug)]
pub struct MinCursor {
    hub: Arc<Hub>,
}

impl MinCursor {
    /// Waits for positions of the logs of `hub`.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }
}

impl<S> Layer<S> for MinCursor {
    type Service = MinCursorService<S>;

    fn layer(&self, inner: S) -> MinCursorService<S> {
        MinCursorService {
            inner,
            hub: Arc::clone(&self.hub),
        }
    }
}

/// The service of [`MinCursor`].
#[derive(Clone, Debug)]
pub struct MinCursorService<S> {
    inner: S,
    hub: Arc<Hub>,
}

impl<S> Service<AuthenticatedCall> for MinCursorService<S>
where
    S: Service<AuthenticatedCall, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: AuthenticatedCall) -> Self::Future {
        let Some(cursor) = min_cursor(call.request.headers()) else {
            return Either::Left(self.inner.call(call));
        };
        // As in `Auth`: the service that is ready, and not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let hub = Arc::clone(&self.hub);
        Either::Right(Box::pin(async move {
            match wait(&hub, &call.identity, cursor).await {
                Ok(()) => inner.call(call).await,
                Err(error) => Ok(refuse(to_status(error))),
            }
        }))
    }
}

/// The position that a call asks for, if it does.
fn min_cursor(headers: &HeaderMap) -> Option<Result<Cursor, Error>> {
    let (name, text) = HEADERS.iter().find_map(|name| Some((*name, headers.get(*name)?)))?;
    let text = text.to_str().unwrap_or_default();
    Some(Cursor::decode(name, &cursor_text::decode(text).unwrap_or_default()))
}

/// Waits until the log has reached a position.
///
/// # Errors
/// [`Error::Invalid`] for a header that is no cursor; [`Error::NotMember`] for a position of an account that the caller is not in;
/// [`Error::Cursor`] for one of another epoch.
async fn wait(hub: &Hub, identity: &CallIdentity, cursor: Result<Cursor, Error>) -> Result<(), Error> {
    let cursor = cursor?;
    // Without a token the request names a session, and the account of the position says nothing about that one.
    if let Some(identity) = identity.caller() {
        identity.caller.access(cursor.account)?;
        hub.reached(cursor).await?;
    }
    Ok(())
}
