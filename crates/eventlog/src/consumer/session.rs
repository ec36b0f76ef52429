//! Sessions: a session reads one shard of a consumer until a newer session takes it over.

use std::{sync::Arc, time::Duration};

use parley_proto::{delivery::consumed, frame::Frame};
use parley_types::{
    error::{ConsumerFault, Error, Result},
    time::Micros,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{ConsumerShardId, OpenSession, acquire, renew};
use crate::{
    account_channel::lock,
    broadcaster::{Broadcaster, StreamKind},
    cursor::Cursor,
    filter::{Filter, Shard},
    subscription::{Credit, Start, Subscription},
};

/// How long a session counts as alive after it last renewed its lease.
const LEASE: Duration = Duration::from_secs(10);

/// How often a session renews its lease. A renewal also detects that a session on another replica has taken over the shard.
const RENEW: Duration = Duration::from_secs(3);

/// A session of one shard of a durable consumer.
#[derive(Debug)]
pub struct Session {
    pub(super) broadcaster: Arc<Broadcaster>,
    subscription: Subscription,
    pub(super) shard_id: ConsumerShardId,
    pub(super) fence: i64,
    /// The latest fencing number of the shard that this process knows.
    newest: watch::Receiver<i64>,
    renew_at: Instant,
    /// The position at which the session started.
    started_at: Cursor,
}

impl Broadcaster {
    /// Opens a session that reads after the consumer's committed position or, for a new consumer, from `start`. `filter` is called to
    /// decode the consumer's stored filter.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the maximum number of streams is open; [`Error::Cursor`] if the log cannot be read from the committed
    /// position; [`Error::Consumer`] if the consumer's filter differs, or its number of shards differs while it has sessions that are
    /// alive; [`Error::Precondition`] if the account has too many consumers; [`Error::NotFound`] if the account does not exist;
    /// [`Error::Unavailable`] or [`Error::Database`] if a statement fails.
    pub async fn consume(
        self: &Arc<Self>,
        opening: &OpenSession,
        start: Start,
        filter: impl FnOnce(&[u8]) -> Filter,
        heartbeat: Option<Duration>,
        credit: Credit,
    ) -> Result<Session> {
        let shard_id = opening.shard_id.clone();
        let permit = self.acquire_permit(StreamKind::Consume)?;
        let range = self.log.range(shard_id.account).await?;
        let start = self.resolve(&range, start).await;
        let txn = self.log.database().begin().await?;
        let acquired = acquire(&txn, opening, start, Micros::now().plus(LEASE)).await?;
        // The position is stored in the same database as the log, so a restore affects both alike, and no mark is needed to tell histories
        // apart.
        let committed = Cursor {
            account: shard_id.account,
            epoch: acquired.shard.epoch,
            seq: acquired.shard.seq,
            mark: None,
        };
        // Check before the commit: a session that cannot read must not end the one before it.
        self.log.range(shard_id.account).await?.check(committed)?;
        txn.commit().await?;
        let newest = self.announce_takeover(&shard_id, acquired.shard.fence);
        let shard = Shard {
            index: shard_id.shard,
            count: opening.shard_count,
        };
        let filter = Filter {
            shard: (shard.count > 1).then_some(shard),
            ..filter(&acquired.filter)
        };
        let mut subscription = self
            .open(permit, shard_id.account, Start::After(committed), filter, heartbeat, false)
            .await?;
        subscription.limit(credit);
        Ok(Session {
            broadcaster: Arc::clone(self),
            started_at: subscription.cursor(),
            subscription,
            shard_id,
            fence: acquired.shard.fence,
            newest,
            renew_at: Instant::now() + RENEW,
        })
    }

    /// Notifies older sessions in this process that the shard was taken over. Returns a receiver that notifies the new session when it is
    /// taken over in turn.
    fn announce_takeover(&self, shard_id: &ConsumerShardId, fence: i64) -> watch::Receiver<i64> {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, newest| newest.receiver_count() > 0);
        let newest = sessions.entry(shard_id.clone()).or_insert_with(|| watch::Sender::new(fence));
        newest.send_if_modified(|known| {
            let newer = fence > *known;
            *known = fence.max(*known);
            newer
        });
        newest.subscribe()
    }
}

impl Session {
    /// Returns the position at which the session started.
    pub fn started_at(&self) -> Cursor {
        self.started_at
    }

    /// Returns the session's fencing number, which is higher than that of any earlier session of the shard.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Returns the position. Every matching event at or below it has been sent.
    pub fn position(&self) -> Cursor {
        self.subscription.cursor()
    }

    /// Returns the next frame to send, an encoded `ConsumeResponse`.
    ///
    /// Cancel safe: if the future is dropped, no event is consumed.
    ///
    /// # Errors
    /// Returns [`Error::Consumer`] once a newer session owns the shard, and the errors of [`Subscription::next`].
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if *self.newest.borrow_and_update() > self.fence {
                return Err(Error::Consumer(ConsumerFault::TakenOver));
            }
            tokio::select! {
                biased;
                // Ignore the result: waiting cannot fail, because the broadcaster keeps the sender as long as there is a receiver.
                _ = self.newest.changed() => {}
                () = sleep_until(self.renew_at) => {
                    self.renew_at = Instant::now() + RENEW;
                    match renew(self.broadcaster.log.database().write(), &self.shard_id, self.fence, Micros::now().plus(LEASE)).await {
                        // The database may be unavailable for a while. The subscription returns an error when it needs the database.
                        Ok(()) | Err(Error::Unavailable { .. } | Error::Database(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                frame = self.subscription.next() => return frame.map(consumed),
            }
        }
    }

    /// Adds to the credit that limits how much the session may send.
    pub fn grant(&mut self, more: Credit) {
        self.subscription.grant(more);
    }

    /// Gives up the lease, so that other sessions need not wait until it expires.
    pub async fn release_lease(&self) {
        if let Err(error) = renew(self.broadcaster.log.database().write(), &self.shard_id, self.fence, Micros(0)).await {
            tracing::debug!(%error, "failed to release the lease of a session; it will expire");
        }
    }
}
