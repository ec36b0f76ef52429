//! Metrics about the delivery of events to subscribers.

use std::sync::LazyLock;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use parley_telemetry::names::{self, meter};
use parley_types::time::Micros;

/// Histogram bounds of the time from a commit until its event is sent to a subscriber, in seconds.
const SECONDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

struct Instruments {
    delivered: Counter<u64>,
    lag: Histogram<f64>,
    memory: [KeyValue; 1],
    database: [KeyValue; 1],
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| Instruments {
    delivered: meter()
        .u64_counter(names::EVENTS_DELIVERED)
        .with_unit("{event}")
        .with_description("Events delivered to subscribers, from memory or, while they catch up, from the database")
        .build(),
    lag: meter()
        .f64_histogram(names::DELIVERY_LAG)
        .with_unit("s")
        .with_description("Time from the commit of an event to its delivery to a subscriber that is not catching up")
        .with_boundaries(SECONDS.to_vec())
        .build(),
    memory: [KeyValue::new(names::SOURCE, "memory")],
    database: [KeyValue::new(names::SOURCE, "database")],
});

/// Records the delivery of `events` events from the tail cache. `at` is the time of the last event, for the histogram of delivery lag.
pub fn live(events: usize, at: Option<Micros>) {
    let instruments = &*INSTRUMENTS;
    instruments.delivered.add(events as u64, &instruments.memory);
    if let Some(at) = at {
        // The clocks of replicas differ, so an event may appear to be delivered before its commit. In that case, record a lag of 0.
        let micros = u32::try_from((Micros::now().0 - at.0).max(0)).unwrap_or(u32::MAX);
        instruments.lag.record(f64::from(micros) / 1e6, &[]);
    }
}

/// Counts events that were read from the database, not from a tail cache, to be sent to a subscriber.
pub fn caught_up(events: usize) {
    let instruments = &*INSTRUMENTS;
    instruments.delivered.add(events as u64, &instruments.database);
}
