//! The broadcaster keeps a tail cache and a watched head for each followed account. It only wakes the subscribers, which then read the
//! events themselves, and never pushes events into a subscriber's queue.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parley_fault::Protection;
use parley_proto as pb;
use parley_types::{
    error::{CursorFault, Error, Result},
    id::{AccountId, Epoch, Seq},
};
use tokio::sync::{Notify, watch};

use crate::{
    Config,
    account_channel::{AccountChannel, EPHEMERAL_BACKLOG, lock},
    consumer::ConsumerShardId,
    cursor::Cursor,
    ephemeral::Typing,
    event_record::EventRecord,
    filter::Filter,
    history,
    log::{Log, LogRange, PageLimits},
    mark::Mark,
    nats::Relay,
};

/// Caches the tails of followed accounts and wakes their subscribers.
#[derive(Debug)]
pub struct Broadcaster {
    pub(super) config: Config,
    pub(super) log: Log,
    relay: Option<Relay>,
    channels: Mutex<HashMap<AccountId, Weak<AccountChannel>>>,
    /// The number of open streams, indexed by [`StreamKind`].
    streams: [AtomicUsize; StreamKind::ALL.len()],
    /// The newest heads of those followed accounts whose tail cache is behind.
    behind: Mutex<HashMap<AccountId, Seq>>,
    pub(super) behind_notify: Notify,
    /// The latest fencing number of each consumer shard that has a session in this process.
    pub(super) sessions: Mutex<HashMap<ConsumerShardId, watch::Sender<i64>>>,
    /// New heads that have yet to be reported to other replicas.
    pub(super) pending_heads: Mutex<HashMap<AccountId, Seq>>,
    pub(super) committed: Notify,
    /// Ephemeral events that have yet to be sent to other replicas. They are never stored.
    pub(super) pending_ephemeral: Mutex<VecDeque<Arc<pb::EphemeralEvent>>>,
}

/// The state of a followed log as the subscribers of this process know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownState {
    pub epoch: Epoch,
    pub head: Seq,
    /// The newest event that was read, with its mark. Its seq is at or below the head.
    pub newest: Option<(Seq, Mark)>,
}

/// A permit for one open stream, which counts the stream until the permit is dropped.
#[derive(Debug)]
pub struct StreamPermit(Arc<Broadcaster>, StreamKind);

/// The kind of an open stream, by which streams are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A subscription whose client stores the cursor.
    Subscribe,
    /// A session of a durable consumer.
    Consume,
    /// A pubsub subscription of a front end, which starts at the head and has no cursor.
    Pubsub,
    /// A call of `SendMessages`.
    SendMessages,
    /// A file download.
    Download,
}

impl StreamKind {
    pub const ALL: [Self; 5] = [Self::Subscribe, Self::Consume, Self::Pubsub, Self::SendMessages, Self::Download];

    /// Returns the name of this kind of stream, as used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Consume => "consume",
            Self::Pubsub => "pubsub",
            Self::SendMessages => "send_messages",
            Self::Download => "download",
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.streams[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Broadcaster {
    /// Creates a broadcaster over `log`. No account is followed until a client subscribes.
    pub fn new(config: Config, log: Log, relay: Option<Relay>) -> Self {
        Self {
            config,
            log,
            relay,
            channels: Mutex::default(),
            streams: Default::default(),
            behind: Mutex::default(),
            behind_notify: Notify::new(),
            sessions: Mutex::default(),
            pending_heads: Mutex::default(),
            committed: Notify::new(),
            pending_ephemeral: Mutex::default(),
        }
    }

    /// Returns the maximum size in bytes of the events that one stream holds, not counting the buffers of its connection: the events read
    /// from the log, and the frame assembled from them, each up to the size of a frame. An event that is larger than a frame is sent alone.
    pub fn max_stream_bytes(&self) -> usize {
        2 * self.config.frame_bytes
    }

    /// Returns the number of open streams of a kind.
    pub fn streams(&self, kind: StreamKind) -> usize {
        self.streams[kind as usize].load(Ordering::Relaxed)
    }

    /// Returns a permit for another open stream.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the maximum number of streams is already open.
    pub fn acquire_permit(self: &Arc<Self>, kind: StreamKind) -> Result<StreamPermit> {
        self.streams[kind as usize].fetch_add(1, Ordering::Relaxed);
        let permit = StreamPermit(Arc::clone(self), kind);
        let open: usize = StreamKind::ALL.iter().map(|kind| self.streams(*kind)).sum();
        if open > self.config.max_streams {
            return Err(Error::Busy {
                retry_after: Duration::from_secs(1),
            });
        }
        Ok(permit)
    }

    /// Follows an account until the returned channel is dropped, and returns the range of its log.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the account does not exist, and [`Error::Unavailable`] or [`Error::Database`] if a query fails.
    pub(super) async fn follow(&self, account: AccountId) -> Result<(Arc<AccountChannel>, LogRange)> {
        let known = lock(&self.channels).get(&account).and_then(Weak::upgrade);
        if let Some(channel) = known {
            let range = self.log.range(account).await?;
            if range.epoch == channel.epoch {
                self.observe_head(account, range.head);
                return Ok((channel, range));
            }
        }
        let range = self.log.range(account).await?;
        let channel = {
            let mut channels = lock(&self.channels);
            channels.retain(|_, channel| channel.strong_count() > 0);
            let known = channels
                .get(&account)
                .and_then(Weak::upgrade)
                .filter(|channel| channel.epoch == range.epoch);
            known.unwrap_or_else(|| {
                let channel = Arc::new(AccountChannel::new(&range, &self.config));
                channels.insert(account, Arc::downgrade(&channel));
                if let Some(relay) = &self.relay {
                    relay.followed.notify_one();
                }
                channel
            })
        };
        // The channel did not receive commits made before it was added to the map, so read the head again.
        let range = self.log.range(account).await?;
        self.observe_head(account, range.head);
        Ok((channel, range))
    }

    /// Waits until the account's log has reached the position of `cursor`. Waits forever if it never does. Cancel safe.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the account does not exist, [`Error::Cursor`] if the cursor belongs to another history, and
    /// [`Error::Unavailable`] or [`Error::Database`] if a query fails.
    pub async fn wait_until_reached(&self, cursor: Cursor) -> Result<()> {
        loop {
            let (channel, range) = self.follow(cursor.account).await?;
            let found = match cursor.mark {
                // Without a mark there is nothing to compare, so no event is read.
                None => range.check(cursor).map(drop),
                Some(_) => self.log.locate(&range, cursor).await.map(drop),
            };
            match found {
                Ok(())
                | Err(Error::Cursor {
                    fault: CursorFault::Expired,
                    ..
                }) => return Ok(()),
                Err(Error::Cursor {
                    fault: CursorFault::Ahead, ..
                }) => {}
                Err(error) => return Err(error),
            }
            let mut head_receiver = channel.head.subscribe();
            while *head_receiver.borrow_and_update() < cursor.seq && !channel.is_replaced() {
                // Ignore the result: waiting cannot fail, because `channel` owns the sender.
                let _ = head_receiver.changed().await;
            }
        }
    }

    /// Publishes events that this process committed for one account. Calls must follow the order of the commits.
    pub fn committed(&self, account: AccountId, epoch: Epoch, entries: Vec<EventRecord>) {
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return;
        };
        if let Some(relay) = &self.relay {
            relay.committed(epoch, entries.clone());
        }
        lock(&self.pending_heads).insert(account, last);
        self.committed.notify_one();
        let Some(channel) = self.channel(account) else { return };
        if !channel.append(entries) {
            self.mark_behind(account, last);
        }
    }

    /// Publishes events that another replica committed and relayed, in order. If they do not continue the tail cache, the missing events
    /// are read from the log.
    pub(super) fn relayed(&self, account: AccountId, epoch: Epoch, entries: Vec<EventRecord>) {
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return;
        };
        let Some(channel) = self.channel(account).filter(|channel| channel.epoch == epoch) else {
            return;
        };
        if !channel.append(entries) {
            self.mark_behind(account, last);
        }
    }

    /// Whether other replicas learn of commits through NATS instead of the database's notifications.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_up)
    }

    /// Processes a head that was read from the database or reported by another replica. If the tail cache is behind this head, the missing
    /// events are read.
    pub(super) fn observe_head(&self, account: AccountId, head: Seq) {
        if let Some(channel) = self.channel(account)
            && *channel.head.borrow() < head
        {
            self.mark_behind(account, head);
        }
    }

    /// Sends an ephemeral event to the account's subscribers, on this replica and on all others.
    pub fn publish_ephemeral(&self, typing: &Typing) {
        let event = Arc::new(pb::EphemeralEvent::from(typing));
        self.deliver_ephemeral(Arc::clone(&event));
        let mut pending_ephemeral = lock(&self.pending_ephemeral);
        // The contract allows losing ephemeral events, so a full queue drops the oldest.
        if pending_ephemeral.len() >= EPHEMERAL_BACKLOG {
            pending_ephemeral.pop_front();
        }
        pending_ephemeral.push_back(event);
        self.committed.notify_one();
    }

    /// Sends an ephemeral event to the account's subscribers on this replica.
    pub(super) fn deliver_ephemeral(&self, event: Arc<pb::EphemeralEvent>) {
        if let Some(channel) = self.channel(AccountId(event.account_id)) {
            // An error means that there are no subscribers.
            let _ = channel.ephemeral.send(event);
        }
    }

    pub(super) fn channel(&self, account: AccountId) -> Option<Arc<AccountChannel>> {
        lock(&self.channels).get(&account).and_then(Weak::upgrade)
    }

    /// Returns the followed accounts with the state of their logs as subscribers know it.
    pub(super) fn known_states(&self) -> HashMap<AccountId, KnownState> {
        let channels = lock(&self.channels);
        let known = channels
            .iter()
            .filter_map(|(account, channel)| Some((*account, channel.upgrade()?)));
        let seen = |channel: &AccountChannel| KnownState {
            epoch: channel.epoch,
            head: *channel.head.borrow(),
            newest: channel.newest(),
        };
        known
            .filter(|(_, channel)| !channel.is_replaced())
            .map(|(account, channel)| (account, seen(&channel)))
            .collect()
    }

    /// Compares the range that the database returned with the state that subscribers knew before the query. If the history moved back or
    /// was replaced, the subscribers end with an error. The first replica that detects a lower head, or a different event at a seq that it
    /// has seen before, also changes the epoch, so that no reader continues as if the history were intact.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if a query fails.
    pub(super) async fn compare(&self, range: &LogRange, seen: Option<KnownState>) -> Result<()> {
        let Some(KnownState { epoch, head, newest }) = seen else {
            return Ok(());
        };
        let went_back = range.epoch == epoch && range.head < head;
        if went_back && self.log.replace_if_below(range.account, epoch, head).await? {
            tracing::error!(account = %range.account, head = %range.head, seen = %head, "the head of the log moved back, so its newest events are missing; started a new epoch");
        }
        let forked = range.epoch == epoch && !went_back && self.has_different_mark(range, newest).await?;
        if forked && self.log.replace(range.account, epoch).await? {
            tracing::error!(account = %range.account, head = %range.head, "the log contains a different event at a seq that was seen before; started a new epoch");
        }
        if went_back || forked || range.epoch != epoch {
            if let Some(channel) = self.channel(range.account).filter(|channel| channel.epoch == epoch) {
                channel.replace();
            }
        } else {
            self.observe_head(range.account, range.head);
        }
        Ok(())
    }

    /// Returns whether the log now contains a different event at the seq of the newest event seen so far. If that seq is the head, the mark
    /// is already in `range`. If the log is ahead, because the latest commits have not been signaled yet, the mark is read with one indexed
    /// read.
    async fn has_different_mark(&self, range: &LogRange, newest: Option<(Seq, Mark)>) -> Result<bool> {
        let Some((seq, seen)) = newest.filter(|_| parley_fault::is_on(Protection::CursorMark)) else {
            return Ok(false);
        };
        let stored = match range.cursor(seq).mark {
            Some(mark) => Some(mark),
            None => history::mark(self.log.database().read(), range.account, seq).await?,
        };
        // `stored` is `None` if the event was trimmed, in which case nothing can be compared.
        Ok(stored.is_some_and(|stored| stored != seen))
    }

    fn mark_behind(&self, account: AccountId, head: Seq) {
        lock(&self.behind)
            .entry(account)
            .and_modify(|known| *known = (*known).max(head))
            .or_insert(head);
        self.behind_notify.notify_one();
    }

    pub(super) fn take_behind(&self) -> HashMap<AccountId, Seq> {
        std::mem::take(&mut *lock(&self.behind))
    }

    /// Reads the events between the tail cache and `head` into the cache, and wakes the subscribers.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] or [`Error::Database`] if a query fails. Events that were read before the failure stay in the cache.
    pub(super) async fn catch_up(&self, account: AccountId, head: Seq) -> Result<()> {
        while let Some(channel) = self.channel(account) {
            let position = channel.position();
            if position >= head {
                break;
            }
            // Do not read more bytes than the tail cache can hold.
            let most = PageLimits {
                events: self.config.page_events,
                bytes: self.config.tail_bytes,
            };
            let page = self.log.page(account, position, head, &Filter::default(), most).await?.entries;
            if page.is_empty() {
                // The events were trimmed, or the log moved back in the meantime; the next poll of the heads detects the latter.
                let range = self.log.range(account).await?;
                if position.next() >= range.earliest {
                    break;
                }
                channel.skip_to(range.head.min(head));
            } else if !channel.append(page) {
                // The page does not continue the tail, because the log was trimmed in the meantime. Subscribers that are still before the
                // gap check the range of the log and end with an error.
                channel.skip_to(head);
            }
        }
        Ok(())
    }
}
