//! A session: one reader of one shard, for as long as no newer one takes over.

use std::{sync::Arc, time::Duration};

use parley_fault::Protection;
use parley_proto::{delivery::consumed, frame::Frame};
use parley_types::{
    error::{ConsumerFault, CursorFault, Error, Result, Rule},
    id::Seq,
    time::Micros,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Opening, Seat, commit, renew, take};
use crate::{
    cursor::Cursor,
    feed::lock,
    filter::{Filter, Shard},
    history,
    hub::{Hub, Kind},
    subscription::{Credit, Start, Subscription},
};

/// How long a session that says nothing is taken for alive.
const LEASE: Duration = Duration::from_secs(10);

/// How often a session says that it is alive, and learns whether another replica has its seat.
const RENEW: Duration = Duration::from_secs(3);

/// A reader of one shard of a durable consumer.
#[derive(Debug)]
pub struct Session {
    hub: Arc<Hub>,
    subscription: Subscription,
    seat: Seat,
    fence: i64,
    /// The newest fencing number of the seat that this process knows of.
    newest: watch::Receiver<i64>,
    renew_at: Instant,
    /// Where it began, before anything was handed out.
    began: Cursor,
}

impl Hub {
    /// Opens a session after what the consumer has committed; a new consumer begins at `start`. `filter` reads the stored one.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many streams are open; [`Error::Cursor`] when the log does not reach back to what was committed;
    /// [`Error::Consumer`]; [`Error::NotFound`] without such an account.
    pub async fn consume(
        self: &Arc<Self>,
        opening: &Opening,
        start: Start,
        filter: impl FnOnce(&[u8]) -> Filter,
        heartbeat: Option<Duration>,
        credit: Credit,
    ) -> Result<Session> {
        let seat = opening.seat.clone();
        let place = self.place(Kind::Consume)?;
        let reach = self.log.reach(seat.account).await?;
        let start = self.resolve(&reach, start).await;
        let txn = self.log.database().begin().await?;
        let taken = take(&txn, opening, start, Micros::now().plus(LEASE)).await?;
        // Stored in the same database as the log, so it forks with it and needs no mark to tell histories apart.
        let committed = Cursor {
            account: seat.account,
            epoch: taken.shard.epoch,
            seq: taken.shard.seq,
            mark: None,
        };
        // A session that cannot read must not end the one before it.
        self.log.reach(seat.account).await?.check(committed)?;
        txn.commit().await?;
        let newest = self.seat_taken(&seat, taken.shard.fence);
        let shard = Shard {
            index: seat.shard,
            count: opening.shard_count,
        };
        let filter = Filter {
            shard: (shard.count > 1).then_some(shard),
            ..filter(&taken.filter)
        };
        let mut subscription = self
            .open(place, seat.account, Start::After(committed), filter, heartbeat, false)
            .await?;
        subscription.limit(credit);
        Ok(Session {
            hub: Arc::clone(self),
            began: subscription.cursor(),
            subscription,
            seat,
            fence: taken.shard.fence,
            newest,
            renew_at: Instant::now() + RENEW,
        })
    }

    /// Tells older sessions of this process that the seat is taken, and gives the new one its ear.
    fn seat_taken(&self, seat: &Seat, fence: i64) -> watch::Receiver<i64> {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, newest| newest.receiver_count() > 0);
        let newest = sessions.entry(seat.clone()).or_insert_with(|| watch::Sender::new(fence));
        newest.send_if_modified(|known| {
            let newer = fence > *known;
            *known = fence.max(*known);
            newer
        });
        newest.subscribe()
    }
}

impl Session {
    /// Where the session began.
    pub fn began(&self) -> Cursor {
        self.began
    }

    /// Its fencing number.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Everything matching at or below it has been handed out.
    pub fn position(&self) -> Cursor {
        self.subscription.cursor()
    }

    /// What to send next, as `ConsumeResponse`.
    ///
    /// Cancel safe: dropped before it is done, nothing was taken.
    ///
    /// # Errors
    /// [`Error::Consumer`] once the seat is somebody else's; as [`Subscription::next`].
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if *self.newest.borrow_and_update() > self.fence {
                return Err(Error::Consumer(ConsumerFault::TakenOver));
            }
            tokio::select! {
                biased;
                // The hub holds the other end as long as there is a receiver.
                _ = self.newest.changed() => {}
                () = sleep_until(self.renew_at) => {
                    self.renew_at = Instant::now() + RENEW;
                    match renew(self.hub.log.database().write(), &self.seat, self.fence, Micros::now().plus(LEASE)).await {
                        // The database may be away for a while; the stream says so itself when it needs it.
                        Ok(()) | Err(Error::Unavailable { .. } | Error::Database(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                frame = self.subscription.next() => return frame.map(consumed),
            }
        }
    }

    /// Stores that everything at or below a cursor is done, and gives what is stored then: what an earlier commit stored, if that is further.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what was not handed out yet; [`Error::CursorForeign`]; [`Error::Consumer`] once the seat is somebody else's.
    pub async fn commit(&mut self, cursor: Cursor) -> Result<Cursor> {
        let position = self.position();
        if cursor.account != position.account {
            return Err(Error::CursorForeign);
        }
        if cursor.epoch != position.epoch {
            let reach = self.hub.log.reach(position.account).await?;
            return Err(reach.fault(CursorFault::EpochChanged));
        }
        if cursor.seq > position.seq {
            return Err(Error::invalid(
                "commit.cursor",
                Rule::OutOfRange(position.seq.0),
                "must not be ahead of what this session was sent",
            ));
        }
        let db = self.hub.log.database();
        let known = match () {
            () if cursor.seq == position.seq => position.mark,
            // One indexed read beside the write.
            () => history::mark(db.read(), position.account, cursor.seq).await?,
        };
        let is_another = known.zip(cursor.mark).is_some_and(|(known, given)| known != given);
        if is_another && parley_fault::is_on(Protection::CursorMark) {
            let reach = self.hub.log.reach(position.account).await?;
            return Err(reach.fault(CursorFault::EpochChanged));
        }
        let seq: Seq = commit(db.write(), &self.seat, self.fence, cursor).await?;
        let mark = match seq {
            seq if seq == cursor.seq => known.or(cursor.mark),
            // An earlier commit was further.
            seq => history::mark(db.read(), position.account, seq).await?,
        };
        Ok(Cursor { seq, mark, ..position })
    }

    /// Lets more be handed out.
    pub fn grant(&mut self, more: Credit) {
        self.subscription.grant(more);
    }

    /// Says that nobody sits here any more, so that others need not wait for the lease to end.
    pub async fn leave(&self) {
        if let Err(error) = renew(self.hub.log.database().write(), &self.seat, self.fence, Micros(0)).await {
            tracing::debug!(%error, "a session's seat was not given back; its lease ends by itself");
        }
    }
}
