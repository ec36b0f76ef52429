//! What open streams have in common: a token that must stay good, and an end that says where to go on.

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

/// Why a stream has to end though its reader did nothing wrong.
#[derive(Debug)]
pub enum End {
    /// Its client shall resume elsewhere.
    Rotated,
    /// The token is not good any more.
    Refused(Error),
}

/// Watches over an open stream: the drain, its age, and the token.
#[derive(Debug)]
pub struct Watch {
    tokens: Tokens,
    identity: Identity,
    account: AccountId,
    access: Access,
    every: Duration,
    due: Instant,
    drain: CancellationToken,
    /// When it is old.
    rotates_at: Option<Instant>,
    _open: OpenStreamGuard,
}

impl Watch {
    /// Watches over a stream of an account that the caller may read.
    ///
    /// # Errors
    /// As [`parley_domain::auth::caller::Caller::access`].
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
            rotates_at: rotates_at(server.config.stream_age),
            _open: server.limits.open_stream(StreamOwner::Token(token))?,
        })
    }

    /// What the caller may see.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Waits until the stream has to end. Cancel safe.
    pub async fn ended(&mut self) -> End {
        loop {
            if self.drain.is_cancelled() || self.is_old() {
                return End::Rotated;
            }
            let look = self.rotates_at.map_or(self.due, |at| at.min(self.due));
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return End::Rotated,
                () = sleep_until(look) => {}
            }
            if Instant::now() < self.due {
                continue;
            }
            match Box::pin(self.renew()).await {
                Ok(true) => {}
                // The filter of what it may see is fixed for the life of a stream: the next one has the new one.
                Ok(false) => return End::Rotated,
                Err(error) => return End::Refused(error),
            }
        }
    }

    fn is_old(&self) -> bool {
        self.rotates_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Whether what the caller may see is the same as before.
    async fn renew(&mut self) -> Result<bool> {
        self.due = Instant::now() + self.every;
        match self.tokens.authenticate(&self.identity.secret).await {
            Ok(caller) => Ok(caller.access(self.account)?.inboxes == self.access.inboxes),
            // The database may be away for a while; the stream says so itself when it needs it.
            Err(Error::Unavailable { .. } | Error::Database(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// When a stream that begins now is old, give or take a tenth: streams that began together do not end together.
pub fn rotates_at(age: Option<Duration>) -> Option<Instant> {
    age.map(|age| Instant::now() + age.mul_f64(rand::random_range(0.9..1.1)))
}

impl End {
    /// The status that the stream ends with, still without its cursor.
    pub fn status(self) -> Status {
        match self {
            // Spread over a second, so that a thousand clients do not come back at once.
            Self::Rotated => rotated(None, Duration::from_millis(rand::random_range(50..1000))),
            Self::Refused(error) => to_status(error),
        }
    }
}
