//! The broadcaster: a tail cache and a watched head for each followed account. It wakes subscribers, which then read for themselves; it
//! never pushes into a subscriber's queue.

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
    consumer::Seat,
    cursor::Cursor,
    entry::Entry,
    ephemeral::Typing,
    feed::{EPHEMERAL_BACKLOG, Feed, lock},
    filter::Filter,
    history,
    log::{Log, Most, Reach},
    mark::Mark,
    nats::Relay,
};

/// Caches the tails of followed accounts and wakes their subscribers.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: Config,
    pub(super) log: Log,
    relay: Option<Relay>,
    feeds: Mutex<HashMap<AccountId, Weak<Feed>>>,
    /// The number of open streams, indexed by [`Kind`].
    streams: [AtomicUsize; Kind::ALL.len()],
    /// Heads of followed accounts that are ahead of their tail cache.
    behind: Mutex<HashMap<AccountId, Seq>>,
    pub(super) fell_behind: Notify,
    /// The latest fencing number of each consumer shard that has a session in this process.
    pub(super) sessions: Mutex<HashMap<Seat, watch::Sender<i64>>>,
    /// Heads of which other replicas have yet to be notified.
    pub(super) unsaid: Mutex<HashMap<AccountId, Seq>>,
    pub(super) committed: Notify,
    /// Ephemeral events of which other replicas have yet to be notified. They are not stored.
    pub(super) whispers: Mutex<VecDeque<Arc<pb::EphemeralEvent>>>,
}

/// The state of a followed log as the subscribers of this process know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub epoch: Epoch,
    pub head: Seq,
    /// The newest event that was read, with its mark. Its seq is at or below the head.
    pub newest: Option<(Seq, Mark)>,
}

/// Counts an open stream until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Hub>, Kind);

/// The kind of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

impl Kind {
    pub const ALL: [Self; 5] = [Self::Subscribe, Self::Consume, Self::Pubsub, Self::SendMessages, Self::Download];

    /// Returns the name of the kind in metrics.
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

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hub {
    /// Creates a broadcaster over `log`. No account is followed until a client subscribes.
    pub fn new(config: Config, log: Log, relay: Option<Relay>) -> Self {
        Self {
            config,
            log,
            relay,
            feeds: Mutex::default(),
            streams: Default::default(),
            behind: Mutex::default(),
            fell_behind: Notify::new(),
            sessions: Mutex::default(),
            unsaid: Mutex::default(),
            committed: Notify::new(),
            whispers: Mutex::default(),
        }
    }

    /// Returns the maximum number of bytes of events that one stream holds, not counting the buffers of its connection: the events read
    /// from the log, and the frame made of them, each up to the size of a frame. An event that is larger than a frame is sent alone.
    pub fn most_bytes_of_a_stream(&self) -> usize {
        2 * self.config.frame_bytes
    }

    /// Returns the number of open streams of a kind.
    pub fn streams(&self, kind: Kind) -> usize {
        self.streams[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts another open stream.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the maximum number of streams is open.
    pub fn place(self: &Arc<Self>, kind: Kind) -> Result<Place> {
        self.streams[kind as usize].fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self), kind);
        let open: usize = Kind::ALL.iter().map(|kind| self.streams(*kind)).sum();
        if open > self.config.max_streams {
            return Err(Error::Busy {
                retry_after: Duration::from_secs(1),
            });
        }
        Ok(place)
    }

    /// Follows an account until the returned channel is dropped, and returns the range of its log.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the account does not exist, and [`Error::Unavailable`] or [`Error::Database`] if a query fails.
    pub(super) async fn follow(&self, account: AccountId) -> Result<(Arc<Feed>, Reach)> {
        let known = lock(&self.feeds).get(&account).and_then(Weak::upgrade);
        if let Some(feed) = known {
            let reach = self.log.reach(account).await?;
            if reach.epoch == feed.epoch {
                self.saw(account, reach.head);
                return Ok((feed, reach));
            }
        }
        let reach = self.log.reach(account).await?;
        let feed = {
            let mut feeds = lock(&self.feeds);
            feeds.retain(|_, feed| feed.strong_count() > 0);
            let known = feeds.get(&account).and_then(Weak::upgrade).filter(|feed| feed.epoch == reach.epoch);
            known.unwrap_or_else(|| {
                let feed = Arc::new(Feed::new(&reach, &self.config));
                feeds.insert(account, Arc::downgrade(&feed));
                if let Some(relay) = &self.relay {
                    relay.followed.notify_one();
                }
                feed
            })
        };
        // Commits from before the channel was in the map were not passed to it, so read the head again.
        let reach = self.log.reach(account).await?;
        self.saw(account, reach.head);
        Ok((feed, reach))
    }

    /// Waits until the account's log has reached a position, forever if it never does. Cancel safe.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the account does not exist, [`Error::Cursor`] if the cursor belongs to another history, and
    /// [`Error::Unavailable`] or [`Error::Database`] if a query fails.
    pub async fn reached(&self, cursor: Cursor) -> Result<()> {
        loop {
            let (feed, reach) = self.follow(cursor.account).await?;
            let found = match cursor.mark {
                // Without a mark there is nothing to compare, so no event is read.
                None => reach.check(cursor).map(drop),
                Some(_) => self.log.locate(&reach, cursor).await.map(drop),
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
            let mut bell = feed.head.subscribe();
            while *bell.borrow_and_update() < cursor.seq && !feed.is_replaced() {
                // Cannot fail: `feed` owns the sender.
                let _ = bell.changed().await;
            }
        }
    }

    /// Publishes events that this process committed for one account. Calls must follow the order of the commits.
    pub fn committed(&self, account: AccountId, epoch: Epoch, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return;
        };
        if let Some(relay) = &self.relay {
            relay.committed(epoch, entries.clone());
        }
        lock(&self.unsaid).insert(account, last);
        self.committed.notify_one();
        let Some(feed) = self.feed(account) else { return };
        if !feed.push(entries) {
            self.fall_behind(account, last);
        }
    }

    /// Publishes events that another replica committed and relayed, in order. If they do not continue the tail cache, the missing events
    /// are read from the log.
    pub(super) fn relayed(&self, account: AccountId, epoch: Epoch, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return;
        };
        let Some(feed) = self.feed(account).filter(|feed| feed.epoch == epoch) else {
            return;
        };
        if !feed.push(entries) {
            self.fall_behind(account, last);
        }
    }

    /// Whether other replicas learn of commits through NATS instead of the database's notifications.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_up)
    }

    /// Takes note of a head that was read from the database or reported by another replica.
    pub(super) fn saw(&self, account: AccountId, head: Seq) {
        if let Some(feed) = self.feed(account)
            && *feed.head.borrow() < head
        {
            self.fall_behind(account, head);
        }
    }

    /// Sends an ephemeral event to the account's subscribers, on this replica and on all others.
    pub fn whisper(&self, typing: &Typing) {
        let event = Arc::new(pb::EphemeralEvent::from(typing));
        self.overheard(Arc::clone(&event));
        let mut whispers = lock(&self.whispers);
        // The contract allows losing ephemeral events, so a full queue drops the oldest.
        if whispers.len() >= EPHEMERAL_BACKLOG {
            whispers.pop_front();
        }
        whispers.push_back(event);
        self.committed.notify_one();
    }

    /// Sends an ephemeral event to the account's subscribers on this replica.
    pub(super) fn overheard(&self, event: Arc<pb::EphemeralEvent>) {
        if let Some(feed) = self.feed(AccountId(event.account_id)) {
            // An error means that there are no subscribers.
            let _ = feed.ephemeral.send(event);
        }
    }

    pub(super) fn feed(&self, account: AccountId) -> Option<Arc<Feed>> {
        lock(&self.feeds).get(&account).and_then(Weak::upgrade)
    }

    /// Returns the followed accounts with the state of their logs as subscribers know it.
    pub(super) fn heads(&self) -> HashMap<AccountId, Seen> {
        let feeds = lock(&self.feeds);
        let known = feeds.iter().filter_map(|(account, feed)| Some((*account, feed.upgrade()?)));
        let seen = |feed: &Feed| Seen {
            epoch: feed.epoch,
            head: *feed.head.borrow(),
            newest: feed.newest(),
        };
        known
            .filter(|(_, feed)| !feed.is_replaced())
            .map(|(account, feed)| (account, seen(&feed)))
            .collect()
    }

    /// Compares the range that the database returned with the state that subscribers knew before the query. If the history went back or was
    /// replaced, the subscribers end with an error. The first replica that sees a lower head, or another event at a seq that it knows, also
    /// changes the epoch, so that no reader continues as if the history were intact.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if a query fails.
    pub(super) async fn compare(&self, reach: &Reach, seen: Option<Seen>) -> Result<()> {
        let Some(Seen { epoch, head, newest }) = seen else { return Ok(()) };
        let went_back = reach.epoch == epoch && reach.head < head;
        if went_back && self.log.replace_if_below(reach.account, epoch, head).await? {
            tracing::error!(account = %reach.account, head = %reach.head, seen = %head, "the log lost its end; its epoch was changed");
        }
        let forked = reach.epoch == epoch && !went_back && self.is_another(reach, newest).await?;
        if forked && self.log.replace(reach.account, epoch).await? {
            tracing::error!(account = %reach.account, head = %reach.head, "the log has another event than the one seen there; its epoch was changed");
        }
        if went_back || forked || reach.epoch != epoch {
            if let Some(feed) = self.feed(reach.account).filter(|feed| feed.epoch == epoch) {
                feed.replace();
            }
        } else {
            self.saw(reach.account, reach.head);
        }
        Ok(())
    }

    /// Whether the log has another event than the one that was seen at its seq. At the head, `reach` contains the answer. If the log is
    /// ahead of that event, because the latest commits were not signalled yet, this takes one indexed read.
    async fn is_another(&self, reach: &Reach, newest: Option<(Seq, Mark)>) -> Result<bool> {
        let Some((seq, seen)) = newest.filter(|_| parley_fault::is_on(Protection::CursorMark)) else {
            return Ok(false);
        };
        let stored = match reach.cursor(seq).mark {
            Some(mark) => Some(mark),
            None => history::mark(self.log.database().read(), reach.account, seq).await?,
        };
        // `None` if the event was trimmed.
        Ok(stored.is_some_and(|stored| stored != seen))
    }

    fn fall_behind(&self, account: AccountId, head: Seq) {
        lock(&self.behind)
            .entry(account)
            .and_modify(|known| *known = (*known).max(head))
            .or_insert(head);
        self.fell_behind.notify_one();
    }

    pub(super) fn take_behind(&self) -> HashMap<AccountId, Seq> {
        std::mem::take(&mut *lock(&self.behind))
    }

    /// Reads the events between the tail cache and `head` into the cache, and wakes the subscribers.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] or [`Error::Database`] if a query fails. The events that were read until then are in the cache.
    pub(super) async fn catch_up(&self, account: AccountId, head: Seq) -> Result<()> {
        while let Some(feed) = self.feed(account) {
            let position = feed.position();
            if position >= head {
                break;
            }
            // The tail cache keeps no more bytes than this.
            let most = Most {
                events: self.config.page_events,
                bytes: self.config.tail_bytes,
            };
            let page = self.log.page(account, position, head, &Filter::default(), most).await?.entries;
            if page.is_empty() {
                // The events were trimmed, or the history went back meanwhile; the next poll of the heads detects the latter.
                let reach = self.log.reach(account).await?;
                if position.next() >= reach.earliest {
                    break;
                }
                feed.skip_to(reach.head.min(head));
            } else if !feed.push(page) {
                // The page does not continue the tail, because the log was trimmed meanwhile. Subscribers that are still before the gap
                // check the range of the log and end with an error.
                feed.skip_to(head);
            }
        }
        Ok(())
    }
}
