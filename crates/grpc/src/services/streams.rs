//! Behavior shared by open streams: re-authentication, rotation, and the status that ends them.

use std::time::Duration;

use parley_domain::auth::{caller::Access, tokens::Tokens};
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::{request::identity, service_context::ServiceContext};
use crate::{
    middleware::{
        identity::Identity,
        limits::{OpenStreamGuard, StreamOwner},
    },
    status::{rotated, to_status},
};

/// Why the server ends a stream that has not failed.
#[derive(Debug)]
pub enum End {
    /// The client should resume the stream on another connection.
    Rotated,
    /// The token is no longer valid or has lost access to the account.
    Refused(Error),
}

/// Ends an open stream on shutdown, at its maximum age, or when its token becomes invalid.
#[derive(Debug)]
pub struct StreamGuard {
    tokens: Tokens,
    identity: Identity,
    account: AccountId,
    access: Access,
    every: Duration,
    due: Instant,
    drain: CancellationToken,
    /// When the stream reaches its maximum age.
    rotation_time: Option<Instant>,
    _open: OpenStreamGuard,
}

impl StreamGuard {
    /// Creates the guard for a stream in an account that the caller may access.
    ///
    /// # Errors
    /// Returns the errors of [`parley_domain::auth::caller::Caller::access`], and [`Error::TooManyStreams`] if the token has too many
    /// streams open.
    pub fn over<R>(server: &ServiceContext, request: &Request<R>, account: AccountId) -> Result<Self> {
        let identity = identity(request)?;
        let access = identity.caller.access(account)?.clone();
        let token = identity.caller.token;
        Ok(Self {
            tokens: server.tokens.clone(),
            identity,
            account,
            access,
            every: server.config.recheck,
            due: Instant::now() + server.config.recheck,
            drain: server.drain.clone(),
            rotation_time: rotation_time(server.config.stream_age),
            _open: server.limits.open_stream(StreamOwner::Token(token))?,
        })
    }

    /// Returns the caller's access to the account.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Waits until the stream must end, and returns the reason. Cancel safe.
    pub async fn ended(&mut self) -> End {
        loop {
            if self.drain.is_cancelled() || self.has_expired() {
                return End::Rotated;
            }
            let wake_at = self.rotation_time.map_or(self.due, |at| at.min(self.due));
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return End::Rotated,
                () = sleep_until(wake_at) => {}
            }
            if Instant::now() < self.due {
                continue;
            }
            match Box::pin(self.reauthenticate()).await {
                Ok(true) => {}
                // The filter is fixed for the lifetime of a stream. End the stream, so that the client reconnects with a filter for its new
                // access.
                Ok(false) => return End::Rotated,
                Err(error) => return End::Refused(error),
            }
        }
    }

    fn has_expired(&self) -> bool {
        self.rotation_time.is_some_and(|at| Instant::now() >= at)
    }

    /// Authenticates the token again. Returns whether the caller's access is unchanged.
    async fn reauthenticate(&mut self) -> Result<bool> {
        self.due = Instant::now() + self.every;
        match self.tokens.authenticate(&self.identity.secret).await {
            Ok(caller) => Ok(caller.access(self.account)?.inboxes == self.access.inboxes),
            // A database outage does not end the stream here. If the stream needs the database, its next query fails.
            Err(Error::Unavailable { .. } | Error::Database(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Returns the time at which a stream that starts now reaches its maximum age. Randomized by 10 % so that streams that started together do
/// not end together.
pub fn rotation_time(age: Option<Duration>) -> Option<Instant> {
    age.map(|age| Instant::now() + age.mul_f64(rand::random_range(0.9..1.1)))
}

impl End {
    /// Returns the status that ends the stream for this reason, without the stream's cursor.
    pub fn status(self) -> Status {
        match self {
            // Randomize the delay within a second so that clients do not all reconnect at the same time.
            Self::Rotated => rotated(None, Duration::from_millis(rand::random_range(50..1000))),
            Self::Refused(error) => to_status(error),
        }
    }
}
