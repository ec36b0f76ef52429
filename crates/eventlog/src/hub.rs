//! The hub: for each followed account a tail and a bell. It rings; it never pushes into anybody's queue.

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

/// The tails and bells of the accounts that somebody follows.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: Config,
    pub(super) log: Log,
    relay: Option<Relay>,
    feeds: Mutex<HashMap<AccountId, Weak<Feed>>>,
    /// Open streams, by [`Kind`].
    streams: [AtomicUsize; Kind::ALL.len()],
    /// Heads of followed accounts that are ahead of their tails.
    behind: Mutex<HashMap<AccountId, Seq>>,
    pub(super) fell_behind: Notify,
    /// The newest session of each seat of a durable consumer, where one is open here.
    pub(super) sessions: Mutex<HashMap<Seat, watch::Sender<i64>>>,
    /// Heads that other replicas should hear of.
    pub(super) unsaid: Mutex<HashMap<AccountId, Seq>>,
    pub(super) committed: Notify,
    /// What other replicas should hear of and nobody keeps.
    pub(super) whispers: Mutex<VecDeque<Arc<pb::EphemeralEvent>>>,
}

/// What readers of a followed log know of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Its history.
    pub epoch: Epoch,
    /// Its head.
    pub head: Seq,
    /// The newest event that was read, at or below the head.
    pub newest: Option<(Seq, Mark)>,
}

/// Counts an open stream for as long as it lives.
#[derive(Debug)]
pub struct Place(Arc<Hub>, Kind);

/// Which kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A subscription whose client keeps its place.
    Subscribe,
    /// A session of a durable consumer.
    Consume,
    /// A subscription of a front end, from now on and without a place.
    Pubsub,
    /// Messages in, their answers out.
    SendMessages,
    /// A file on its way to a reader.
    Download,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Subscribe, Self::Consume, Self::Pubsub, Self::SendMessages, Self::Download];

    /// As figures name it.
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
    /// A hub over a log. Nothing is followed until somebody subscribes.
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

    /// Bytes of events that one stream holds at most, beside what its connection buffers: what was read of the log and the frame that is made
    /// of it, each up to the size of a frame. An event that is larger than a frame goes alone.
    pub fn most_bytes_of_a_stream(&self) -> usize {
        2 * self.config.frame_bytes
    }

    /// How many streams of a kind are open.
    pub fn streams(&self, kind: Kind) -> usize {
        self.streams[kind as usize].load(Ordering::Relaxed)
    }

    /// Takes a place for a stream.
    ///
    /// # Errors
    /// [`Error::Busy`] when all are taken.
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

    /// Follows an account until the feed is dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an account.
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
        // What was committed before the feed stood in the map was not handed over: read the head again.
        let reach = self.log.reach(account).await?;
        self.saw(account, reach.head);
        Ok((feed, reach))
    }

    /// Waits until the account's log has reached a position. Cancel safe; waits for good if it never does.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an account; [`Error::Cursor`] of another epoch.
    pub async fn reached(&self, cursor: Cursor) -> Result<()> {
        loop {
            let (feed, reach) = self.follow(cursor.account).await?;
            let found = match cursor.mark {
                // Nothing to compare, so nothing is read.
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
                // The feed holds the other end.
                let _ = bell.changed().await;
            }
        }
    }

    /// Hands over what this process committed for one account, in the order of the commits.
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

    /// Hands over what another replica committed, in order, as it was relayed; what does not join on is read from the log.
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

    /// Whether other replicas hear of commits otherwise than by the database's signals.
    pub(super) fn is_relayed(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_up)
    }

    /// Notes a head that was learnt from elsewhere.
    pub(super) fn saw(&self, account: AccountId, head: Seq) {
        if let Some(feed) = self.feed(account)
            && *feed.head.borrow() < head
        {
            self.fall_behind(account, head);
        }
    }

    /// Tells the account's subscribers of something that is true for a moment, here and at other replicas.
    pub fn whisper(&self, typing: &Typing) {
        let event = Arc::new(pb::EphemeralEvent::from(typing));
        self.overheard(Arc::clone(&event));
        let mut whispers = lock(&self.whispers);
        // Lossy by contract: the oldest make room.
        if whispers.len() >= EPHEMERAL_BACKLOG {
            whispers.pop_front();
        }
        whispers.push_back(event);
        self.committed.notify_one();
    }

    /// Tells those who listen here.
    pub(super) fn overheard(&self, event: Arc<pb::EphemeralEvent>) {
        if let Some(feed) = self.feed(AccountId(event.account_id)) {
            // An error means that nobody listens.
            let _ = feed.ephemeral.send(event);
        }
    }

    pub(super) fn feed(&self, account: AccountId) -> Option<Arc<Feed>> {
        lock(&self.feeds).get(&account).and_then(Weak::upgrade)
    }

    /// The accounts that somebody follows, with what their readers know of the logs.
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

    /// Compares what the database says with what readers knew before it was asked. Where history went back or was replaced, they are told;
    /// the first replica to see a head that went back, or another event than the one it knows, changes the epoch, so that nobody goes on as
    /// if nothing had happened.
    ///
    /// # Errors
    /// When the database fails.
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

    /// Whether the log has another event at a seq than the one that was seen there. At the head the answer is in `reach`; behind it, which is
    /// where a log is whose commits were not signalled yet, it costs one indexed read.
    async fn is_another(&self, reach: &Reach, newest: Option<(Seq, Mark)>) -> Result<bool> {
        let Some((seq, seen)) = newest.filter(|_| parley_fault::is_on(Protection::CursorMark)) else {
            return Ok(false);
        };
        let stored = match reach.cursor(seq).mark {
            Some(mark) => Some(mark),
            None => history::mark(self.log.database().read(), reach.account, seq).await?,
        };
        // None: it was trimmed.
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

    /// Reads into the tail what lies between it and a head, and rings.
    ///
    /// # Errors
    /// When the database cannot be read; what was read until then is in the tail.
    pub(super) async fn catch_up(&self, account: AccountId, head: Seq) -> Result<()> {
        while let Some(feed) = self.feed(account) {
            let position = feed.position();
            if position >= head {
                break;
            }
            // The tail keeps no more bytes than that.
            let most = Most {
                events: self.config.page_events,
                bytes: self.config.tail_bytes,
            };
            let page = self.log.page(account, position, head, &Filter::default(), most).await?.entries;
            if page.is_empty() {
                // Trimmed, or history went back meanwhile, which the next look at the heads tells.
                let reach = self.log.reach(account).await?;
                if position.next() >= reach.earliest {
                    break;
                }
                feed.skip_to(reach.head.min(head));
            } else if !feed.push(page) {
                // It does not join on: the log was trimmed meanwhile. Readers that are still before it ask the log and are told.
                feed.skip_to(head);
            }
        }
        Ok(())
    }
}
