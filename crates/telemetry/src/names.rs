//! Names of what is measured and traced, in one place. Those of OpenTelemetry's conventions come from its own crate, whose version of them is
//! [`SCHEMA_URL`]; the rest begin with `parley`. Prometheus sees dots as underscores, and the unit at the end.

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

/// What the layer of `tracing-opentelemetry` takes as a span's kind: of a subscriber's work, `consumer`.
pub const OTEL_KIND: &str = "otel.kind";

/// Seconds of calls and requests, as the conventions for RPC and HTTP advise.
pub const CALL_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds of what a database does, as its conventions advise.
pub const DB_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Streams that are open, by [`KIND`].
pub const STREAMS_OPEN: &str = "parley.streams.open";
/// Bytes of events that one stream holds at most, beside what its connection buffers.
pub const STREAM_MEMORY_LIMIT: &str = "parley.stream.memory.limit";
/// Streams that ended, or were refused when they were opened, by [`KIND`] and [`REASON`].
pub const STREAMS_ENDED: &str = "parley.streams.ended";
/// Events that were handed to subscribers, by [`SOURCE`].
pub const EVENTS_DELIVERED: &str = "parley.events.delivered";
/// From the commit of an event to its way to a subscriber that is not catching up.
pub const DELIVERY_LAG: &str = "parley.delivery.lag";
/// Events that are kept, of all accounts.
pub const LOG_EVENTS: &str = "parley.log.events";
/// Bytes that the events take with their indexes; of the whole file where the database is one.
pub const LOG_SIZE: &str = "parley.log.size";
/// How long events are kept, by the configuration.
pub const LOG_KEEP_AGE: &str = "parley.log.keep.age";
/// How long a durable consumer may hold events beyond that, by the configuration.
pub const LOG_KEEP_HELD: &str = "parley.log.keep.held";
/// Events of one account that are kept at most, by the configuration.
pub const LOG_KEEP_EVENTS: &str = "parley.log.keep.events";
/// The age of the oldest event that is kept.
pub const LOG_OLDEST: &str = "parley.log.oldest";
/// Events between a durable consumer's position and the head of its log.
pub const CONSUMER_LAG: &str = "parley.consumer.lag_events";
/// Messages in one transaction of the writer.
pub const BATCH_MESSAGES: &str = "parley.writer.batch.messages";
/// Writes that wait in a lane.
pub const QUEUE_DEPTH: &str = "parley.writer.queue.depth";
/// Calls that were refused because of a limit, by [`REASON`].
pub const CALLS_REJECTED: &str = "parley.calls.rejected";
/// Calls and requests without a token that waited, so that others need not, by [`REASON`].
pub const CALLS_DELAYED: &str = "parley.calls.delayed";
/// Audit events that were not stored, by [`REASON`]: their lines in the audit log are all there is.
pub const AUDIT_LOST: &str = "parley.audit.lost";
/// Steps of large requests and answers that ran away from the runtime's workers.
pub const HEAVY_STEPS: &str = "parley.heavy.steps";
/// Calls in work, streams aside.
pub const CALLS_ACTIVE: &str = "parley.calls.active";

/// Whether a check of readiness passes, 1 or 0, by [`CHECK`].
pub const READY: &str = "parley.ready";

/// The check: `database` or `serving`.
pub const CHECK: &str = "parley.check";
/// Which kind of stream: `subscribe`, `consume` or `pubsub`.
pub const KIND: &str = "parley.stream.kind";
/// Where events came from: `memory`, or `database` while a reader catches up.
pub const SOURCE: &str = "parley.source";
/// The reason, as errors spell it.
pub const REASON: &str = "parley.reason";
/// The lane of the writer.
pub const LANE: &str = "parley.lane";
/// The writer shard. Replaces [`LANE`], which is recorded beside it for one release.
pub const WRITER_SHARD: &str = "parley.writer.shard";

static METER: LazyLock<Meter> = LazyLock::new(|| {
    let scope = InstrumentationScope::builder("parley")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build();
    global::meter_with_scope(scope)
});

/// What rooms make their instruments with. It must be asked for only once telemetry has started: what it makes before measures nothing.
pub fn meter() -> &'static Meter {
    &METER
}
