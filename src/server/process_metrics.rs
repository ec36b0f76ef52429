//! Metrics of event streams, event logs, readiness and database connections.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::KeyValue;
use parley_eventlog::{
    RetentionLimits,
    broadcaster::{Broadcaster, StreamKind},
    log::Log,
    log_stats::LogStats,
};
use parley_storage::Database;
use parley_telemetry::names::{self, meter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::background_jobs::ticks;
use crate::admin::Readiness;

/// How often the statistics of the event log are read from the database.
const READ_INTERVAL: Duration = Duration::from_secs(10);

/// Registers the metrics of event streams.
pub fn streams(broadcaster: &Arc<Broadcaster>) {
    let most = broadcaster.max_stream_bytes() as u64;
    meter()
        .u64_observable_gauge(names::STREAM_MEMORY_LIMIT)
        .with_unit("By")
        .with_description("Maximum size of the events held by one stream, not counting the buffers of its connection")
        .with_callback(move |gauge| gauge.observe(most, &[]))
        .build();
    let broadcaster = Arc::clone(broadcaster);
    meter()
        .u64_observable_gauge(names::STREAMS_OPEN)
        .with_unit("{stream}")
        .with_description("Open event streams")
        .with_callback(move |gauge| {
            for kind in StreamKind::ALL {
                gauge.observe(broadcaster.streams(kind) as u64, &[KeyValue::new(names::KIND, kind.name())]);
            }
        })
        .build();
}

/// Keeps the metrics of the event log up to date until `stop` is cancelled.
pub async fn logs(log: Log, stop: CancellationToken) -> anyhow::Result<()> {
    let figures = Arc::new(Mutex::new(LogStats::default()));
    register_log_gauges(&figures);
    let mut ticks = ticks(READ_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match log.with_long_timeout(log.stats()).await {
            Ok(read) => *figures.lock().unwrap_or_else(PoisonError::into_inner) = read,
            Err(error) => tracing::debug!(%error, "failed to read event log statistics; retrying later"),
        }
    }
    Ok(())
}

fn register_log_gauges(figures: &Arc<Mutex<LogStats>>) {
    let meter = meter();
    let read = |of: fn(&LogStats) -> u64| {
        let figures = Arc::clone(figures);
        move || of(&figures.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let events = read(|figures| figures.events);
    meter
        .u64_observable_gauge(names::LOG_EVENTS)
        .with_unit("{event}")
        .with_description("Stored events of all accounts")
        .with_callback(move |gauge| gauge.observe(events(), &[]))
        .build();
    let bytes = read(|figures| figures.bytes);
    meter
        .u64_observable_gauge(names::LOG_SIZE)
        .with_unit("By")
        .with_description("Size of the events and their indexes; on SQLite, of the database file")
        .with_callback(move |gauge| gauge.observe(bytes(), &[]))
        .build();
    let oldest = read(|figures| figures.oldest_seconds);
    meter
        .u64_observable_gauge(names::LOG_OLDEST)
        .with_unit("s")
        .with_description("Age of the oldest stored event")
        .with_callback(move |gauge| gauge.observe(oldest(), &[]))
        .build();
    let lags = Arc::clone(figures);
    meter
        .u64_observable_gauge(names::CONSUMER_LAG)
        .with_unit("{event}")
        .with_description("Events between a durable consumer's position and the head of its log; only the 1,000 shards that lag most")
        .with_callback(move |gauge| {
            let figures = lags.lock().unwrap_or_else(PoisonError::into_inner);
            for lag in &figures.lags {
                let labels = [
                    KeyValue::new("account", lag.account_id),
                    KeyValue::new("consumer", lag.name.clone()),
                    KeyValue::new("shard", lag.shard),
                ];
                gauge.observe(lag.lag.try_into().unwrap_or_default(), &labels);
            }
        })
        .build();
}

/// Registers the configured retention limits as metrics, for comparison with the actual age and number of events.
pub fn retention(keep: RetentionLimits) {
    let meter = meter();
    for (name, description, age) in [
        (names::LOG_KEEP_AGE, "Maximum age of stored events", keep.age),
        (
            names::LOG_KEEP_HELD,
            "Maximum age of events whose removal is delayed by a durable consumer",
            keep.held,
        ),
    ] {
        meter
            .u64_observable_gauge(name)
            .with_unit("s")
            .with_description(description)
            .with_callback(move |gauge| gauge.observe(age.as_secs(), &[]))
            .build();
    }
    if let Some(events) = keep.events {
        let events = events.try_into().unwrap_or_default();
        meter
            .u64_observable_gauge(names::LOG_KEEP_EVENTS)
            .with_unit("{event}")
            .with_description("Maximum number of stored events per account")
            .with_callback(move |gauge| gauge.observe(events, &[]))
            .build();
    }
}

/// Registers a metric for each readiness check.
pub fn readiness(readiness: watch::Receiver<Readiness>) {
    meter()
        .u64_observable_gauge(names::READY)
        .with_description("Whether a readiness check passes")
        .with_callback(move |gauge| {
            for (check, passes) in readiness.borrow().checks() {
                gauge.observe(u64::from(passes), &[KeyValue::new(names::CHECK, check)]);
            }
        })
        .build();
}

/// Registers metrics of the database connections.
pub fn connections(db: &Database) {
    let db = db.clone();
    meter()
        .i64_observable_up_down_counter(names::DB_CLIENT_CONNECTION_COUNT)
        .with_unit("{connection}")
        .with_description("Connections to the database")
        .with_callback(move |counter| {
            for (pool, used, idle) in db.connections() {
                for (state, count) in [("used", used), ("idle", idle)] {
                    let labels = [
                        KeyValue::new(names::DB_CLIENT_CONNECTION_POOL_NAME, pool),
                        KeyValue::new(names::DB_CLIENT_CONNECTION_STATE, state),
                    ];
                    counter.observe(i64::try_from(count).unwrap_or(i64::MAX), &labels);
                }
            }
        })
        .build();
}
