//! A subscription: reads the log after its position, sends the matching events, waits for the next commit, and repeats.

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
    account_channel::{AccountChannel, lock},
    broadcaster::{Broadcaster, StreamKind, StreamPermit},
    cursor::Cursor,
    delivery_meter,
    filter::Filter,
    history,
    inbox_scope::redact_for_inboxes,
    log::{LogRange, Page, PageLimits},
    mark::Mark,
    snapshot::Snapshot,
    tail::{self, FrameCapacity, ReadBatch},
};

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Start at the oldest event that is kept.
    Earliest,
    /// Start after the newest event.
    Latest,
    /// Start after this position.
    After(Cursor),
    /// Start at the first event at or after this time.
    At(Micros),
    /// Start with a snapshot of the current state, followed by later events.
    Snapshot,
}

/// The number of events and bytes that a subscription may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    pub events: u64,
    /// The number of bytes, or `None` for no limit. The last event may be larger than the number of bytes left.
    pub bytes: Option<u64>,
}

impl Credit {
    fn is_spent(self) -> bool {
        self.events == 0 || self.bytes == Some(0)
    }
}

/// A subscriber's position in the log of one account. A subscription buffers at most one frame, whose size is limited, and buffers nothing
/// between two reads.
#[derive(Debug)]
pub struct Subscription {
    broadcaster: Arc<Broadcaster>,
    channel: Arc<AccountChannel>,
    head_receiver: watch::Receiver<Seq>,
    ephemeral: Option<broadcast::Receiver<Arc<pb::EphemeralEvent>>>,
    filter: Filter,
    position: Seq,
    /// The mark of the event at the position.
    mark: Option<Mark>,
    /// The time before which events are skipped. `None` if the subscription did not start at a time, or once an event at or after that time
    /// has been found.
    start_time: Option<Micros>,
    /// The seq of the last matching event at or below the position. `None` until it is first needed and looked up.
    prev: Option<Seq>,
    /// The progress of the snapshot; `None` without a snapshot or after it is complete.
    snapshot: Option<Snapshot>,
    heartbeat: Duration,
    bookmark_at: Instant,
    /// The remaining credit, or `None` for no limit.
    credit: Option<Credit>,
    _permit: StreamPermit,
}

impl Broadcaster {
    /// Opens a subscription.
    ///
    /// # Errors
    /// Returns `Error::Busy` if the maximum number of streams is open; `Error::Cursor` if the log cannot be read from `start`;
    /// `Error::NotFound` if the account does not exist; `Error::Unavailable` or `Error::Database` if a query fails.
    pub async fn subscribe(
        self: &Arc<Self>,
        kind: StreamKind,
        account: AccountId,
        start: Start,
        filter: Filter,
        heartbeat: Option<Duration>,
        ephemeral: bool,
    ) -> Result<Subscription> {
        let place = self.acquire_permit(kind)?;
        self.open(place, account, start, filter, heartbeat, ephemeral).await
    }

    /// Like [`Self::subscribe`], but for a stream that already has a permit.
    pub(super) async fn open(
        self: &Arc<Self>,
        place: StreamPermit,
        account: AccountId,
        start: Start,
        filter: Filter,
        heartbeat: Option<Duration>,
        ephemeral: bool,
    ) -> Result<Subscription> {
        let (channel, range) = self.follow(account).await?;
        let begin = self.resolve(&range, start).await?;
        let position = begin.seq;
        Ok(Subscription {
            broadcaster: Arc::clone(self),
            head_receiver: channel.head.subscribe(),
            ephemeral: ephemeral.then(|| channel.ephemeral.subscribe()),
            channel,
            prev: filter.is_open().then_some(position),
            filter,
            position,
            mark: begin.mark,
            start_time: match start {
                Start::At(time) if position == range.head => Some(time),
                _ => None,
            },
            snapshot: (start == Start::Snapshot).then(Snapshot::new),
            heartbeat: heartbeat.unwrap_or(self.config.default_heartbeat),
            bookmark_at: Instant::now(),
            credit: None,
            _permit: place,
        })
    }

    /// Returns the position after which a subscription with this `start` begins to read the log that `range` describes.
    ///
    /// # Errors
    /// Returns the errors of `Log::locate`, and `Error::Unavailable` or `Error::Database` if a query fails.
    pub async fn resolve(&self, range: &LogRange, start: Start) -> Result<Cursor> {
        match start {
            Start::Earliest => self.log.cursor(range, Seq(range.earliest.0 - 1)).await,
            Start::Latest | Start::Snapshot => Ok(range.head_cursor()),
            Start::After(cursor) => self.log.locate(range, cursor).await,
            Start::At(time) => self.log.cursor(range, self.log.before(range, time).await?).await,
        }
    }
}

impl Subscription {
    /// Returns the next frame to send: matching events, a bookmark, or ephemeral events. Never empty.
    ///
    /// Cancel safe: if the future is dropped, no event is consumed, and the next call starts at the same position.
    ///
    /// # Errors
    /// Returns `Error::Cursor` if events after the position were trimmed or the history was replaced, and `Error::Unavailable` or
    /// `Error::Database` if a query fails.
    pub async fn next(&mut self) -> Result<Frame> {
        if self.snapshot.is_some()
            && let Some(frame) = Box::pin(self.next_snapshot_frame()).await?
        {
            return Ok(frame);
        }
        loop {
            let head = *self.head_receiver.borrow_and_update();
            if self.channel.is_replaced() {
                Box::pin(self.broadcaster.log.range(self.channel.account))
                    .await?
                    .check(self.cursor())?;
            }
            if self.position < head && self.start_time.is_some() {
                Box::pin(self.skip_to_start_time(head)).await?;
            }
            if self.position < head && self.has_credit() {
                // Boxed, like every future that queries the database, so that an idle subscriber reserves no memory for it.
                let mut batch = Box::pin(self.read(head)).await?;
                if self.filter.scope.is_some() && (batch.contacts || self.filter.own_contacts) {
                    let db = self.broadcaster.log.database().read();
                    batch.frame = Box::pin(redact_for_inboxes(db, self.channel.account, &self.filter, &batch.frame)).await?;
                }
                if batch.position != self.position {
                    (self.position, self.mark) = (batch.position, batch.mark);
                }
                self.prev = Some(batch.prev);
                self.spend(&batch);
                if !batch.frame.is_empty() {
                    return Ok(batch.frame);
                }
                // A filter may match no event for a long time: yield, so that other tasks can run.
                tokio::task::yield_now().await;
            } else if Instant::now() >= self.bookmark_at {
                self.bookmark_at = Instant::now() + self.heartbeat;
                return Ok(self.bookmark(head));
            } else if let Some(frame) = self.wait().await {
                return Ok(frame);
            }
        }
    }

    /// Skips events that were committed after the stream opened but are older than its start time. Such events exist because a write is
    /// assigned its time before it waits for the account's lock.
    async fn skip_to_start_time(&mut self, head: Seq) -> Result<()> {
        let Some(time) = self.start_time else { return Ok(()) };
        let range = LogRange {
            head,
            ..self.broadcaster.log.range(self.channel.account).await?
        };
        let before = self.broadcaster.log.before(&range, time).await?;
        if before > self.position {
            self.mark = history::mark(self.broadcaster.log.database().read(), self.channel.account, before).await?;
            self.position = before;
        }
        self.prev = self.filter.is_open().then_some(self.position);
        if self.position < head {
            self.start_time = None;
        }
        Ok(())
    }

    /// Returns the position from which the stream can be resumed, or `None` during a snapshot, which cannot be resumed.
    pub fn resume_at(&self) -> Option<Cursor> {
        self.snapshot.is_none().then(|| self.cursor())
    }

    /// Continues with another filter after the event with the seq `after`, which must already have been sent and becomes the `prev_seq` of
    /// the next event. `mark` is that event's mark, which its cursor contains.
    pub fn change_filter(&mut self, filter: Filter, after: Seq, mark: Option<Mark>) {
        self.filter = filter;
        (self.position, self.mark) = (after, mark);
        self.prev = Some(after);
    }

    /// Limits the subscription: from now on, it sends no more than `credit` plus the credit granted later.
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

    fn has_credit(&self) -> bool {
        !self.credit.is_some_and(Credit::is_spent) || !parley_fault::is_on(Protection::Credit)
    }

    fn spend(&mut self, batch: &ReadBatch) {
        if let Some(credit) = &mut self.credit {
            credit.events = credit.events.saturating_sub(batch.events as u64);
            credit.bytes = credit.bytes.map(|bytes| bytes.saturating_sub(batch.frame.len() as u64));
        }
    }

    /// Returns the capacity of the next frame, as limited by the remaining credit.
    fn capacity(&self) -> FrameCapacity {
        let most = self.broadcaster.config.frame_bytes;
        let bytes = self.credit.and_then(|credit| credit.bytes).map(usize::try_from);
        FrameCapacity {
            bytes: bytes.map_or(most, |bytes| bytes.unwrap_or(most).min(most)),
            events: self
                .credit
                .filter(|_| parley_fault::is_on(Protection::Credit))
                .map(|credit| usize::try_from(credit.events).unwrap_or(usize::MAX)),
        }
    }

    /// Returns the position. Every matching event at or below it has been sent.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            account: self.channel.account,
            epoch: self.channel.epoch,
            seq: self.position,
            mark: self.mark,
        }
    }

    /// Returns the next part of the snapshot, or the message that completes it. Returns `None` once the snapshot is complete.
    async fn next_snapshot_frame(&mut self) -> Result<Option<Frame>> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(None) };
        let upserts = snapshot
            .next(
                self.broadcaster.log.database(),
                self.channel.account,
                &self.filter,
                self.broadcaster.config.frame_bytes,
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
            // The position is still the head that was read before the first row of the snapshot.
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
            // Receiving cannot fail: the sender belongs to `self.channel`.
            _ = self.head_receiver.changed() => None,
            () = sleep_until(self.bookmark_at) => None,
            event = heard => event.and_then(|event| self.ephemeral_frame(&event)),
        }
    }

    /// Encodes an ephemeral event if it matches the filter. The filter is applied only to fields that ephemeral events have.
    fn ephemeral_frame(&self, event: &pb::EphemeralEvent) -> Option<Frame> {
        let filter = &self.filter;
        let inbox = |id: &parley_types::id::InboxId| Some(id.0) == event.inbox_id;
        let wanted = (filter.inboxes.is_empty() || filter.inboxes.iter().any(inbox))
            && filter.scope.as_ref().is_none_or(|scope| scope.iter().any(inbox))
            && (filter.conversations.is_empty() || filter.conversations.iter().any(|id| Some(id.0) == event.conversation_id));
        wanted.then(|| {
            let mut event = event.clone();
            // Omit the contact's name: a service limited to inboxes might not be allowed to see the contact, and a database query for each
            // ephemeral event to find out would cost too much.
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
            // The tail cache may be ahead of the watched head.
            head_seq: head.max(self.position).to_wire(),
        };
        let mut frame = Frame::default();
        frame.push(encoded(&pb::SubscribeResponse {
            bookmark: Some(bookmark),
            ..pb::SubscribeResponse::default()
        }));
        frame
    }

    /// Reads the log after the position: from the tail cache if it still contains the next event, otherwise from the database.
    async fn read(&self, head: Seq) -> Result<ReadBatch> {
        let (broadcaster, channel) = (&self.broadcaster, &self.channel);
        let prev = match self.prev {
            Some(prev) => prev,
            None => broadcaster.log.last_match(channel.account, self.position, &self.filter).await?,
        };
        let place = (self.position, prev);
        let capacity = self.capacity();
        if let Some(batch) = lock(&channel.tail).read(channel.epoch, &self.filter, place, capacity) {
            delivery_meter::live(batch.events, batch.at);
            return Ok(batch);
        }
        let most = PageLimits {
            events: capacity.events.map_or(broadcaster.config.page_events, |most| {
                broadcaster.config.page_events.min(most as u64)
            }),
            bytes: capacity.bytes,
        };
        let Page {
            entries: page,
            is_complete,
        } = broadcaster
            .log
            .page(channel.account, self.position, head, &self.filter, most)
            .await?;
        if page.first().is_none_or(|first| first.seq != self.position.next()) && parley_fault::is_on(Protection::GapCheck) {
            // Gap: either the range was trimmed or no event matches there. `earliest_seq` is raised before rows are deleted, so read it to
            // tell which.
            broadcaster.log.range(channel.account).await?.check(self.cursor())?;
        }
        let mut batch = tail::select(page.iter(), channel.epoch, &self.filter, place, capacity);
        if is_complete && batch.position < head && page.last().is_none_or(|last| last.seq == batch.position) {
            // No other event up to `head` matches, so the position moves to `head`. Looking up the mark of the event at `head` costs one
            // single-row query for each page that is read from the database; reads from the tail cache do not need this query.
            batch.mark = history::mark(broadcaster.log.database().read(), channel.account, head).await?;
            batch.position = head;
        }
        delivery_meter::caught_up(batch.events);
        Ok(batch)
    }
}
