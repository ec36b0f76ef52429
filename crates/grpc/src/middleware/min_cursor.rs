//! The layer that delays a call until this replica has reached a given log position.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, Either};
use http::HeaderMap;
use parley_eventlog::{broadcaster::Broadcaster, cursor::Cursor};
use parley_types::{cursor_text, error::Error};
use tower::{Layer, Service};

use crate::status::to_status;

use super::{
    call::{AuthenticatedCall, CallIdentity},
    response::{Response, refuse},
};

/// The headers that carry the log position to wait for: binary metadata, and text for clients without binary metadata. Either header
/// accepts every encoding of a cursor.
const HEADERS: [&str; 2] = ["parley-min-cursor-bin", "parley-min-cursor"];

/// Delays a call until this replica has read the log up to the position in `parley-min-cursor`, which gives clients read-your-writes
/// consistency on any replica. The wait is bounded only by the call's deadline. Calls without the header cost no allocation.
#[derive(Clone, Debug)]
pub struct MinCursor {
    broadcaster: Arc<Broadcaster>,
}

impl MinCursor {
    /// Creates a layer that waits until `broadcaster` has reached the requested log positions.
    pub fn new(broadcaster: Arc<Broadcaster>) -> Self {
        Self { broadcaster }
    }
}

impl<S> Layer<S> for MinCursor {
    type Service = MinCursorService<S>;

    fn layer(&self, inner: S) -> MinCursorService<S> {
        MinCursorService {
            inner,
            broadcaster: Arc::clone(&self.broadcaster),
        }
    }
}

#[derive(Clone, Debug)]
pub struct MinCursorService<S> {
    inner: S,
    broadcaster: Arc<Broadcaster>,
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
        // As in `Auth`, call the service that was polled for readiness, not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let broadcaster = Arc::clone(&self.broadcaster);
        Either::Right(Box::pin(async move {
            match wait(&broadcaster, &call.identity, cursor).await {
                Ok(()) => inner.call(call).await,
                Err(error) => Ok(refuse(to_status(error))),
            }
        }))
    }
}

/// Returns the log position that the call has to wait for, or `None` if the request names none.
fn min_cursor(headers: &HeaderMap) -> Option<Result<Cursor, Error>> {
    let (name, text) = HEADERS.iter().find_map(|name| Some((*name, headers.get(*name)?)))?;
    let text = text.to_str().unwrap_or_default();
    Some(Cursor::decode(name, &cursor_text::decode(text).unwrap_or_default()))
}

/// Waits until this replica has reached a log position.
///
/// # Errors
/// Returns [`Error::Invalid`] if the header is not a cursor, [`Error::NotMember`] if the caller is not a member of the cursor's account,
/// and [`Error::Cursor`] if the cursor belongs to another epoch.
async fn wait(broadcaster: &Broadcaster, identity: &CallIdentity, cursor: Result<Cursor, Error>) -> Result<(), Error> {
    let cursor = cursor?;
    // Do not delay a call without a token: its request identifies a contact session instead, so access to the cursor's account cannot be
    // checked here.
    if let Some(identity) = identity.caller() {
        identity.caller.access(cursor.account)?;
        broadcaster.wait_until_reached(cursor).await?;
    }
    Ok(())
}
