//! Subscribers that record what they received and when, and the statistics of a burst.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _};
use tokio::task::JoinSet;

/// Timeout of a burst.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The record of one subscriber. Times are in nanoseconds since the creation of [`SubscriberGroup`]; 0 means not yet.
#[derive(Debug, Default)]
struct Subscriber {
    events: AtomicU64,
    position: AtomicU64,
    first_at: AtomicU64,
    first_events: AtomicU64,
    last_at: AtomicU64,
}

/// All subscribers of a burst. Dropping this ends their streams.
#[derive(Debug)]
pub struct SubscriberGroup {
    subscribers: Vec<Arc<Subscriber>>,
    started: Instant,
    readers: JoinSet<()>,
}

impl SubscriberGroup {
    /// Creates an empty set of subscribers.
    pub fn new() -> Self {
        Self {
            subscribers: Vec::new(),
            started: Instant::now(),
            readers: JoinSet::new(),
        }
    }

    /// Adds a subscriber. For each message, its stream yields the number of events and the position of the last one.
    pub fn add<S>(&mut self, mut stream: S)
    where
        S: Stream<Item = (u64, u64)> + Send + Unpin + 'static,
    {
        let (subscriber, started) = (Arc::<Subscriber>::default(), self.started);
        self.subscribers.push(subscriber.clone());
        self.readers.spawn(async move {
            while let Some((events, position)) = stream.next().await {
                let now = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                if subscriber.first_at.load(Relaxed) == 0 {
                    subscriber.first_events.store(events, Relaxed);
                    subscriber.first_at.store(now, Relaxed);
                }
                subscriber.events.fetch_add(events, Relaxed);
                subscriber.last_at.store(now, Relaxed);
                subscriber.position.store(position, Relaxed);
            }
        });
    }

    /// Clears the records. Call this only between bursts, while no events are in flight.
    pub fn reset(&self) {
        for subscriber in &self.subscribers {
            for counter in [
                &subscriber.events,
                &subscriber.position,
                &subscriber.first_at,
                &subscriber.first_events,
                &subscriber.last_at,
            ] {
                counter.store(0, Relaxed);
            }
        }
    }

    /// Waits until every subscriber has received the event at this position.
    pub async fn wait_for(&self, position: u64) {
        let started = Instant::now();
        while !self
            .subscribers
            .iter()
            .all(|subscriber| subscriber.position.load(Relaxed) >= position)
        {
            let behind = self
                .subscribers
                .iter()
                .filter(|subscriber| subscriber.position.load(Relaxed) < position)
                .count();
            assert!(
                started.elapsed() < TIMEOUT,
                "{behind} of {} subscribers never got event {position}",
                self.subscribers.len()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns the statistics since the last [`reset`](Self::clear), with the CPU seconds of server and client.
    pub fn burst(&self, server_cpu: f64, client_cpu: f64) -> Burst {
        let earliest = self
            .subscribers
            .iter()
            .min_by_key(|subscriber| subscriber.first_at.load(Relaxed))
            .expect("the group has subscribers");
        let last = self
            .subscribers
            .iter()
            .map(|subscriber| subscriber.last_at.load(Relaxed))
            .max()
            .unwrap_or_default();
        let events: u64 = self.subscribers.iter().map(|subscriber| subscriber.events.load(Relaxed)).sum();
        Burst {
            // The clock starts when the first message has arrived, so its events are not counted.
            timed: events - earliest.first_events.load(Relaxed),
            events,
            elapsed: Duration::from_nanos(last - earliest.first_at.load(Relaxed)),
            server_cpu,
            client_cpu,
        }
    }
}

/// Statistics of one burst, or the sum of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    timed: u64,
    events: u64,
    elapsed: Duration,
    server_cpu: f64,
    client_cpu: f64,
}

impl Burst {
    /// Adds the statistics of another burst.
    pub fn add(&mut self, other: Self) {
        self.timed += other.timed;
        self.events += other.events;
        self.elapsed += other.elapsed;
        self.server_cpu += other.server_cpu;
        self.client_cpu += other.client_cpu;
    }

    /// Returns events per second over all subscribers, from the first delivery to the last.
    pub fn rate(&self) -> f64 {
        self.timed as f64 / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = self.events as f64 / 1e6;
        write!(
            formatter,
            "server {:.2}, client {:.2}",
            self.server_cpu / millions,
            self.client_cpu / millions
        )
    }
}
