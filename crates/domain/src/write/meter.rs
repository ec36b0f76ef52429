//! Metrics and spans of the writer shards.

use std::{sync::LazyLock, time::Instant};

use opentelemetry::{
    Context, KeyValue,
    metrics::Histogram,
    trace::{FutureExt as _, Link, SpanKind, TraceContextExt as _},
};
use parley_telemetry::{
    context,
    names::{self, DB_OPERATION_BATCH_SIZE, DB_OPERATION_NAME, DB_SECONDS, DB_SYSTEM_NAME, ERROR_TYPE, meter},
    span,
};
use parley_types::error::{Error, Result};
use sea_orm::DbBackend;
use tokio::sync::mpsc;

/// The maximum number of a batch's calls that are linked to its span.
const LINKS: usize = 32;

static OPERATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram(names::DB_CLIENT_OPERATION_DURATION)
        .with_unit("s")
        .with_description("Duration of storing a batch of messages, or of another write, in the database")
        .with_boundaries(DB_SECONDS.to_vec())
        .build()
});

static BATCHES: LazyLock<Histogram<u64>> = LazyLock::new(|| {
    meter()
        .u64_histogram(names::BATCH_MESSAGES)
        .with_unit("{message}")
        .with_description("Messages stored per transaction")
        .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
        .build()
});

/// Records the number of messages that a shard stores in one batch.
pub fn batch(messages: usize) {
    BATCHES.record(messages as u64, &[]);
}

/// The kind of database work to measure.
#[derive(Clone, Copy, Debug)]
pub enum DatabaseWork {
    /// Storing a batch with the given number of new messages.
    Store(usize),
    /// An operation, from its first statement to its commit.
    Operation,
}

impl DatabaseWork {
    fn name(self) -> &'static str {
        match self {
            Self::Store(0 | 1) => "INSERT",
            Self::Store(_) => "BATCH INSERT",
            Self::Operation => "TRANSACTION",
        }
    }

    /// Returns the batch size, if any: by OpenTelemetry's conventions, a batch of one is not a batch.
    fn size(self) -> Option<i64> {
        match self {
            Self::Store(messages) if messages > 1 => i64::try_from(messages).ok(),
            _ => None,
        }
    }
}

/// Awaits `future` and measures it. `causes` are the trace contexts of the calls that it is executed for. If any of them is sampled, the
/// work gets a span: a child of the first sampled call, with links to the others.
///
/// Cancel safe if `future` is.
///
/// # Errors
/// The errors of `future`.
pub async fn measured<'a, T>(
    backend: DbBackend,
    work: DatabaseWork,
    causes: impl Iterator<Item = &'a str>,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let system = if backend == DbBackend::Sqlite { "sqlite" } else { "postgresql" };
    // A trace context ends with its flags; `01` means sampled.
    let mut recorded = causes
        .filter(|cause| cause.ends_with("-01"))
        .take(LINKS)
        .filter_map(context::stored);
    let around = recorded.next().map(|first| {
        let parent = Context::new().with_remote_span_context(first);
        let others = recorded.map(Link::with_context).collect();
        span::begin(&parent, SpanKind::Client, others, || {
            let mut attributes = vec![KeyValue::new(DB_SYSTEM_NAME, system), KeyValue::new(DB_OPERATION_NAME, work.name())];
            attributes.extend(work.size().map(|size| KeyValue::new(DB_OPERATION_BATCH_SIZE, size)));
            (work.name().into(), attributes)
        })
    });
    let begun = Instant::now();
    let done = future.with_context(around.clone().unwrap_or_else(Context::current)).await;
    let mut labels = vec![KeyValue::new(DB_SYSTEM_NAME, system), KeyValue::new(DB_OPERATION_NAME, work.name())];
    // An error that a rule returns is not a failure of the database.
    let fault = match &done {
        Err(Error::Unavailable { .. }) => Some("unavailable"),
        Err(Error::Database(_)) => Some("refused"),
        _ => None,
    };
    labels.extend(fault.map(|fault| KeyValue::new(ERROR_TYPE, fault)));
    if let Some(around) = &around {
        span::end(around, fault.is_some(), || {
            fault.map(|fault| KeyValue::new(ERROR_TYPE, fault)).into_iter().collect()
        });
    }
    OPERATIONS.record(begun.elapsed().as_secs_f64(), &labels);
    done
}

/// Registers a gauge that reports the number of writes in the queue of each shard, as long as the shard exists.
pub fn queues<T: Send + 'static>(shards: &[mpsc::Sender<T>]) {
    // A strong sender would prevent its shard from terminating.
    let shards: Vec<_> = shards.iter().map(mpsc::Sender::downgrade).collect();
    meter()
        .u64_observable_gauge(names::QUEUE_DEPTH)
        .with_unit("{write}")
        .with_description("Writes in the queue of a writer shard")
        .with_callback(move |gauge| {
            for (number, shard) in shards.iter().enumerate() {
                if let Some(shard) = shard.upgrade() {
                    let waiting = shard.max_capacity() - shard.capacity();
                    let label = i64::try_from(number).unwrap_or_default();
                    // Put both label names into one series, because a second series would double every sum over the metric.
                    let labels = [KeyValue::new(names::WRITER_SHARD, label), KeyValue::new(names::LANE, label)];
                    gauge.observe(waiting as u64, &labels);
                }
            }
        })
        .build();
}
