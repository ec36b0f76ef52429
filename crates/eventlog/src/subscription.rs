//! A subscription: read the log after my position, send what is there, wait for the bell, repeat.

use std::{sync::Arc, time::Duration};

use parley_fault::Protection;
use parley_proto::{self as pb, delivery::encoded, frame::Frame};
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
    time::Micros,
};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};

use crate::{
    cursor::Cursor,
    feed::{Feed, lock},
    filter::Filter,
    history,
    hub::{Hub, Kind, Place},
    log::{Most, Page, Reach},
    mark::Mark,
    meter,
    narrow::narrow,
    snapshot::Snapshot,
    tail::{self, Batch, Room},
};

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With what comes next.
    Latest,
    /// With the event after this position.
    After(Cursor),
    /// With the first event at or after this time.
    At(Micros),
    /// With the present state, then what comes next.
    Snapshot,
}

/// How much may still be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Events.
    pub events: u64,
    /// Bytes; none: as many as the events have. The last event may go beyond.
    pub bytes: Option<u64>,
}

impl Credit {
    fn is_spent(self) -> bool {
        self.events == 0 || self.bytes == Some(0)
    }
}

/// One subscriber's way through one log. It holds a position, and between two reads nothing else: at most one frame,
/// which is bounded, is in its hands.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    bell: watch::Receiver<Seq>,
    ephemeral: Option<broadcast::Receiver<Arc<pb::EphemeralEvent>>>,
    filter: Filter,
    position: Seq,
    /// What the event at the position is recognised by.
    mark: Option<Mark>,
    /// Events before this time are not wanted; none once one at or after it was found.
    not_before: Option<Micros>,
    /// The last match at or below the position; looked up when it is first needed.
    prev: Option<Seq>,
    /// The present state, while it is being told.
    snapshot: Option<Snapshot>,
    heartbeat: Duration,
    bookmark_at: Instant,
    /// None: as much as the reader takes.
    credit: Option<Credit>,
    _place: Place,
}

impl Hub {
    /// Opens a subscription.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Busy`] when too many are open; [`parley_types::error::Error::Cursor`] when the log does not reach there;
    /// [`parley_types::error::Error::NotFound`] without such an account.
    pub async fn subscribe(
        self: &Arc<Self>,
        kind: Kind,
        account: AccountId,
        start: Start,
        filter: Filter,
        heartbeat: Option<Duration>,
        ephemeral: bool,
    ) -> Result<Subscription> {
        let place = self.place(kind)?;
        self.open(place, account, start, filter, heartbeat, ephemeral).await
    }

    /// As [`Self::subscribe`], in a place that was taken.
    pub(super) async fn open(
        self: &Arc<Self>,
        place: Place,
        account: AccountId,
        start: Start,
        filter: Filter,
        heartbeat: Option<Duration>,
        ephemeral: bool,
    ) -> Result<Subscription> {
        let (feed, reach) = self.follow(account).await?;
        let begin = self.resolve(&reach, start).await?;
        let position = begin.seq;
        Ok(Subscription {
            hub: Arc::clone(self),
            bell: feed.head.subscribe(),
            ephemeral: ephemeral.then(|| feed.ephemeral.subscribe()),
            feed,
            prev: filter.is_open().then_some(position),
            filter,
            position,
            mark: begin.mark,
            not_before: match start {
                Start::At(time) if position == reach.head => Some(time),
                _ => None,
            },
            snapshot: (start == Start::Snapshot).then(Snapshot::new),
            heartbeat: heartbeat.unwrap_or(self.config.default_heartbeat),
            bookmark_at: Instant::now(),
            credit: None,
            _place: place,
        })
    }

    /// The position after which a start begins, in this history.
    ///
    /// # Errors
    /// As [`crate::log::Log::locate`]; when the database cannot be read.
    pub async fn resolve(&self, reach: &Reach, start: Start) -> Result<Cursor> {
        match start {
            Start::Earliest => self.log.cursor(reach, Seq(reach.earliest.0 - 1)).await,
            Start::Latest | Start::Snapshot => Ok(reach.head_cursor()),
            Start::After(cursor) => self.log.locate(reach, cursor).await,
            Start::At(time) => self.log.cursor(reach, self.log.before(reach, time).await?).await,
        }
    }
}

impl Subscription {
    /// What to send next: matching events, a bookmark, or ephemeral events. Never empty.
    ///
    /// Cancel safe: dropped before it is done, nothing was taken, and the next call starts where this one did.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Cursor`] when retention passed the position; when the database cannot be read.
    pub async fn next(&mut self) -> Result<Frame> {
        if self.snapshot.is_some()
            && let Some(frame) = Box::pin(self.present_state()).await?
        {
            return Ok(frame);
        }
        loop {
            let head = *self.bell.borrow_and_update();
            if self.feed.is_replaced() {
                Box::pin(self.hub.log.reach(self.feed.account)).await?.check(self.cursor())?;
            }
            if self.position < head && self.not_before.is_some() {
                Box::pin(self.pass_over(head)).await?;
            }
            if self.position < head && self.may_hand_out() {
                // Boxed, as everything that asks the database: an idle subscriber should not carry the room for it.
                let mut batch = Box::pin(self.read(head)).await?;
                if self.filter.scope.is_some() && (batch.contacts || self.filter.own_contacts) {
                    let db = self.hub.log.database().read();
                    batch.frame = Box::pin(narrow(db, self.feed.account, &self.filter, &batch.frame)).await?;
                }
                if batch.position != self.position {
                    (self.position, self.mark) = (batch.position, batch.mark);
                }
                self.prev = Some(batch.prev);
                self.spend(&batch);
                if !batch.frame.is_empty() {
                    return Ok(batch.frame);
                }
                // A filter may let nothing through for long: other tasks get their turn.
                tokio::task::yield_now().await;
            } else if Instant::now() >= self.bookmark_at {
                self.bookmark_at = Instant::now() + self.heartbeat;
                return Ok(self.bookmark(head));
            } else if let Some(frame) = self.wait().await {
                return Ok(frame);
            }
        }
    }

    /// Passes over what was committed since the stream opened and is still before the time it starts at: a write takes its time before it
    /// waits for its turn.
    async fn pass_over(&mut self, head: Seq) -> Result<()> {
        let Some(time) = self.not_before else { return Ok(()) };
        let reach = Reach {
            head,
            ..self.hub.log.reach(self.feed.account).await?
        };
        let before = self.hub.log.before(&reach, time).await?;
        if before > self.position {
            self.mark = history::mark(self.hub.log.database().read(), self.feed.account, before).await?;
            self.position = before;
        }
        self.prev = self.filter.is_open().then_some(self.position);
        if self.position < head {
            self.not_before = None;
        }
        Ok(())
    }

    /// The position from which the stream can be resumed; none while a snapshot is being told, which cannot.
    pub fn resume_at(&self) -> Option<Cursor> {
        self.snapshot.is_none().then(|| self.cursor())
    }

    /// Goes on with another filter, behind an event that was handed out and has this mark. The chain of `prev_seq` continues from there.
    pub fn refilter(&mut self, filter: Filter, after: Seq, mark: Option<Mark>) {
        self.filter = filter;
        (self.position, self.mark) = (after, mark);
        self.prev = Some(after);
    }

    /// From now on no more is handed out than `credit`, and what is granted later.
    pub fn limit(&mut self, credit: Credit) {
        self.credit = Some(credit);
    }

    /// Adds to the credit of a limited subscription.
    pub fn grant(&mut self, more: Credit) {
        if let Some(credit) = &mut self.credit {
            credit.events = credit.events.saturating_add(more.events);
            credit.bytes = credit.bytes.map(|bytes| bytes.saturating_add(more.bytes.unwrap_or_default()));
        }
    }

    fn may_hand_out(&self) -> bool {
        !self.credit.is_some_and(Credit::is_spent) || !parley_fault::is_on(Protection::Credit)
    }

    fn spend(&mut self, batch: &Batch) {
        if let Some(credit) = &mut self.credit {
            credit.events = credit.events.saturating_sub(batch.events as u64);
            credit.bytes = credit.bytes.map(|bytes| bytes.saturating_sub(batch.frame.len() as u64));
        }
    }

    /// How much the next frame may hold.
    fn room(&self) -> Room {
        let most = self.hub.config.frame_bytes;
        let bytes = self.credit.and_then(|credit| credit.bytes).map(usize::try_from);
        Room {
            bytes: bytes.map_or(most, |bytes| bytes.unwrap_or(most).min(most)),
            events: self
                .credit
                .filter(|_| parley_fault::is_on(Protection::Credit))
                .map(|credit| usize::try_from(credit.events).unwrap_or(usize::MAX)),
        }
    }

    /// The position: everything matching at or below it has been handed out.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            account: self.feed.account,
            epoch: self.feed.epoch,
            seq: self.position,
            mark: self.mark,
        }
    }

    /// A piece of the snapshot, or its end; none once it was told.
    async fn present_state(&mut self) -> Result<Option<Frame>> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(None) };
        let upserts = snapshot
            .next(
                self.hub.log.database(),
                self.feed.account,
                &self.filter,
                self.hub.config.frame_bytes,
            )
            .await?;
        let response = if let Some(upserts) = upserts {
            pb::SubscribeResponse {
                upserts,
                ..pb::SubscribeResponse::default()
            }
        } else {
            let count = snapshot.count;
            self.snapshot = None;
            // The position is still the head before the first row was read.
            let complete = pb::SnapshotComplete {
                cursor: self.cursor().encode(),
                count,
            };
            pb::SubscribeResponse {
                snapshot_complete: Some(complete),
                ..pb::SubscribeResponse::default()
            }
        };
        let mut frame = Frame::default();
        frame.push(encoded(&response));
        Ok(Some(frame))
    }

    async fn wait(&mut self) -> Option<Frame> {
        let heard = async {
            match &mut self.ephemeral {
                Some(ephemeral) => ephemeral.recv().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender lives as long as the feed, which we hold.
            _ = self.bell.changed() => None,
            () = sleep_until(self.bookmark_at) => None,
            event = heard => event.and_then(|event| self.ephemeral_frame(&event)),
        }
    }

    /// Ephemeral events pass the filter as far as it speaks of what they have.
    fn ephemeral_frame(&self, event: &pb::EphemeralEvent) -> Option<Frame> {
        let filter = &self.filter;
        let inbox = |id: &parley_types::id::InboxId| Some(id.0) == event.inbox_id;
        let wanted = (filter.inboxes.is_empty() || filter.inboxes.iter().any(inbox))
            && filter.scope.as_ref().is_none_or(|scope| scope.iter().any(inbox))
            && (filter.conversations.is_empty() || filter.conversations.iter().any(|id| Some(id.0) == event.conversation_id));
        wanted.then(|| {
            let mut event = event.clone();
            // A service that is limited to inboxes may not see the contact, and an ephemeral event is not worth a look at the database.
            if let Some(actor) = event
                .actor
                .as_mut()
                .filter(|actor| filter.own_contacts && actor.r#type() == pb::ActorType::Contact)
            {
                actor.name.clear();
            }
            let mut frame = Frame::default();
            frame.push(encoded(&pb::SubscribeResponse {
                ephemeral: vec![event],
                ..pb::SubscribeResponse::default()
            }));
            frame
        })
    }

    fn bookmark(&self, head: Seq) -> Frame {
        let bookmark = pb::Bookmark {
            cursor: self.cursor().encode(),
            seq: self.position.to_wire(),
            // The tail may be ahead of the bell.
            head_seq: head.max(self.position).to_wire(),
        };
        let mut frame = Frame::default();
        frame.push(encoded(&pb::SubscribeResponse {
            bookmark: Some(bookmark),
            ..pb::SubscribeResponse::default()
        }));
        frame
    }

    /// The log after the position: from the tail if it reaches back so far, else from the database.
    async fn read(&self, head: Seq) -> Result<Batch> {
        let (hub, feed) = (&self.hub, &self.feed);
        let prev = match self.prev {
            Some(prev) => prev,
            None => hub.log.last_match(feed.account, self.position, &self.filter).await?,
        };
        let place = (self.position, prev);
        let room = self.room();
        if let Some(batch) = lock(&feed.tail).read(feed.epoch, &self.filter, place, room) {
            meter::live(batch.events, batch.at);
            return Ok(batch);
        }
        let most = Most {
            events: room
                .events
                .map_or(hub.config.page_events, |most| hub.config.page_events.min(most as u64)),
            bytes: room.bytes,
        };
        let Page { entries: page, whole } = hub.log.page(feed.account, self.position, head, &self.filter, most).await?;
        if page.first().is_none_or(|first| first.seq != self.position.next()) && parley_fault::is_on(Protection::GapCheck) {
            // Trimmed under our feet, or nothing matches there: the log, which says so before it trims, knows which.
            hub.log.reach(feed.account).await?.check(self.cursor())?;
        }
        let mut batch = tail::select(page.iter(), feed.epoch, &self.filter, place, room);
        if whole && batch.position < head && page.last().is_none_or(|last| last.seq == batch.position) {
            // A filter lets nothing else through: one read of one row for a page of the database, and none for what comes from the tail.
            batch.mark = history::mark(hub.log.database().read(), feed.account, head).await?;
            batch.position = head;
        }
        meter::caught_up(batch.events);
        Ok(batch)
    }
}
