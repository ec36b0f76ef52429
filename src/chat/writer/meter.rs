//! What is measured of the lanes.

use std::sync::LazyLock;

use opentelemetry::{KeyValue, metrics::Histogram};
use tokio::sync::mpsc;

use super::Job;
use crate::telemetry::names::{self, meter};

static BATCHES: LazyLock<Histogram<u64>> = LazyLock::new(|| {
    meter()
        .u64_histogram(names::BATCH_MESSAGES)
        .with_description("Messages that were stored in one transaction")
        .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
        .build()
});

/// Notes how many messages a lane stores together.
pub fn batch(messages: usize) {
    BATCHES.record(messages as u64, &[]);
}

/// Tells how many writes wait in each lane, for as long as there are lanes.
pub fn queues(lanes: &[mpsc::Sender<Job>]) {
    // A strong sender would keep its lane from ending.
    let lanes: Vec<_> = lanes.iter().map(mpsc::Sender::downgrade).collect();
    meter()
        .u64_observable_gauge(names::QUEUE_DEPTH)
        .with_description("Writes that wait in a lane")
        .with_callback(move |gauge| {
            for (number, lane) in lanes.iter().enumerate() {
                if let Some(lane) = lane.upgrade() {
                    let waiting = lane.max_capacity() - lane.capacity();
                    let label = i64::try_from(number).unwrap_or_default();
                    gauge.observe(waiting as u64, &[KeyValue::new(names::LANE, label)]);
                }
            }
        })
        .build();
}
