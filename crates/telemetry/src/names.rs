//! Names of all metrics and attributes. Names from the OpenTelemetry semantic conventions are imported from their official crate, in the
//! version of [`SCHEMA_URL`]; all other metrics and attributes have names that begin with `parley`. Prometheus replaces dots with
//! underscores and appends the unit.

use std::sync::LazyLock;

use opentelemetry::{InstrumentationScope, global, metrics::Meter};

pub use opentelemetry_semantic_conventions::{
    SCHEMA_URL,
    attribute::{
        DB_CLIENT_CONNECTION_POOL_NAME, DB_CLIENT_CONNECTION_STATE, DB_OPERATION_BATCH_SIZE, DB_OPERATION_NAME, DB_SYSTEM_NAME, ERROR_TYPE,
        HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, MESSAGING_DESTINATION_NAME, MESSAGING_MESSAGE_ID,
        MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, NETWORK_PROTOCOL_VERSION, RPC_METHOD,
        RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME, SERVICE_INSTANCE_ID, SERVICE_NAME, URL_SCHEME,
    },
    metric::{DB_CLIENT_CONNECTION_COUNT, DB_CLIENT_OPERATION_DURATION, HTTP_SERVER_REQUEST_DURATION, RPC_SERVER_CALL_DURATION},
};

/// The name of the field from which the `tracing-opentelemetry` layer reads a span's kind, such as `consumer`.
pub const OTEL_KIND: &str = "otel.kind";

/// Histogram bounds for the duration of calls and requests, in seconds, as recommended by the RPC and HTTP semantic conventions.
pub const CALL_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Histogram bounds for the duration of database operations, in seconds, as recommended by the database semantic conventions.
pub const DB_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Number of open streams, by [`KIND`].
pub const STREAMS_OPEN: &str = "parley.streams.open";
/// Maximum number of bytes of events that one stream holds, excluding the buffers of the stream's connection.
pub const STREAM_MEMORY_LIMIT: &str = "parley.stream.memory.limit";
/// Streams that ended, or were rejected when they were opened, by [`KIND`] and [`REASON`].
pub const STREAMS_ENDED: &str = "parley.streams.ended";
/// Events that were sent to subscribers, by [`SOURCE`].
pub const EVENTS_DELIVERED: &str = "parley.events.delivered";
/// Time from the commit of an event until it is sent to a subscriber that is not catching up.
pub const DELIVERY_LAG: &str = "parley.delivery.lag";
/// Number of events that are kept, across all accounts.
pub const LOG_EVENTS: &str = "parley.log.events";
/// Bytes used by the events and their indexes; on SQLite, the size of the whole database file.
pub const LOG_SIZE: &str = "parley.log.size";
/// The configured age up to which events are kept.
pub const LOG_KEEP_AGE: &str = "parley.log.keep.age";
/// The configured age up to which a durable consumer can keep events from being trimmed.
pub const LOG_KEEP_HELD: &str = "parley.log.keep.held";
/// The configured maximum number of events per account.
pub const LOG_KEEP_EVENTS: &str = "parley.log.keep.events";
/// The age of the oldest event that is kept.
pub const LOG_OLDEST: &str = "parley.log.oldest";
/// Number of events between the position of a durable consumer and the head of the account's log.
pub const CONSUMER_LAG: &str = "parley.consumer.lag_events";
/// Messages per transaction of the writer.
pub const BATCH_MESSAGES: &str = "parley.writer.batch.messages";
/// Number of writes that are queued in a writer shard.
pub const QUEUE_DEPTH: &str = "parley.writer.queue.depth";
/// Calls that were rejected because of a limit, by [`REASON`].
pub const CALLS_REJECTED: &str = "parley.calls.rejected";
/// Calls and requests without a token that were delayed in favor of other callers, by [`REASON`].
pub const CALLS_DELAYED: &str = "parley.calls.delayed";
/// Audit events that could not be stored, by [`REASON`]. The only record of such an event is its log line.
pub const AUDIT_LOST: &str = "parley.audit.lost";
/// Processing steps that ran outside the runtime's worker threads because they handled large requests or responses.
pub const HEAVY_STEPS: &str = "parley.heavy.steps";
/// Number of calls in progress, excluding streams.
pub const CALLS_ACTIVE: &str = "parley.calls.active";

/// Whether a readiness check passes (1) or fails (0), by [`CHECK`].
pub const READY: &str = "parley.ready";

/// The readiness check: `database` or `serving`.
pub const CHECK: &str = "parley.check";
/// The kind of stream, such as `subscribe`, `consume` or `pubsub`.
pub const KIND: &str = "parley.stream.kind";
/// The place from which events were read: `memory`, or `database` while a subscriber catches up.
pub const SOURCE: &str = "parley.source";
/// The reason for an occurrence that a metric counts, such as a stream that ended or a call that was rejected. For [`STREAMS_ENDED`], the
/// reason is spelled as in the error that the client receives.
pub const REASON: &str = "parley.reason";
/// The writer shard, under the attribute's former name. Replaced by [`WRITER_SHARD`].
pub const LANE: &str = "parley.lane";
/// The writer shard. This attribute replaces [`LANE`], which is recorded alongside it for one release.
pub const WRITER_SHARD: &str = "parley.writer.shard";

static METER: LazyLock<Meter> = LazyLock::new(|| {
    let scope = InstrumentationScope::builder("parley")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build();
    global::meter_with_scope(scope)
});

/// Returns the meter for instruments of all crates. Must not be called before telemetry has started: instruments that were created earlier
/// record nothing.
pub fn meter() -> &'static Meter {
    &METER
}
