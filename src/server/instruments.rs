//! What `/metrics` tells of the streams and the logs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::KeyValue;
use tokio_util::sync::CancellationToken;

use super::upkeep::ticks;
use crate::events::{figures::Figures, hub::Hub, log::Log};

/// How often the database is asked for figures.
const LOOK: Duration = Duration::from_secs(10);

/// The figures of the hub.
pub fn streams(hub: &Arc<Hub>) {
    let hub = Arc::clone(hub);
    opentelemetry::global::meter("parley")
        .u64_observable_gauge("parley_streams_open")
        .with_description("Event streams that are open")
        .with_callback(move |gauge| gauge.observe(hub.streams() as u64, &[]))
        .build();
}

/// Keeps the figures of the logs up to date until `stop`.
pub async fn logs(log: Log, stop: CancellationToken) -> anyhow::Result<()> {
    let known = Arc::new(Mutex::new(Figures::default()));
    tell(&known);
    let mut ticks = ticks(LOOK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match log.figures().await {
            Ok(figures) => *known.lock().unwrap_or_else(PoisonError::into_inner) = figures,
            Err(error) => tracing::debug!(%error, "the figures of the logs could not be read; trying again later"),
        }
    }
    Ok(())
}

fn tell(known: &Arc<Mutex<Figures>>) {
    let meter = opentelemetry::global::meter("parley");
    let read = |of: fn(&Figures) -> u64| {
        let known = Arc::clone(known);
        move || of(&known.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let events = read(|figures| figures.events);
    meter
        .u64_observable_gauge("parley_log_events")
        .with_description("Events that are kept, of all accounts")
        .with_callback(move |gauge| gauge.observe(events(), &[]))
        .build();
    let oldest = read(|figures| figures.oldest_seconds);
    meter
        .u64_observable_gauge("parley_log_oldest_seconds")
        .with_description("The age of the oldest event that is kept")
        .with_callback(move |gauge| gauge.observe(oldest(), &[]))
        .build();
    let lags = Arc::clone(known);
    meter
        .u64_observable_gauge("parley_consumer_lag_events")
        .with_description("Events between a durable consumer's position and the head of its log; the 1,000 shards that lag most")
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
