//! Filters the log lines that are written, and those that are sent to a collector.
//!
//! A single filter precedes all layers: with a filter per layer, log lines get lost (tokio-rs/tracing#2519).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tracing::{
    Event, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, registry::LookupSpan};

/// Minimum interval between log lines about the same problem of an exporter: while a collector is unavailable, every batch reports the
/// problem.
const EXPORTER_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Crates that transport exported telemetry. Their own log lines are disabled, because exporting them would cause more of them.
const TRANSPORT: [&str; 4] = ["h2", "hyper", "tonic", "tower"];

/// Prefix of the names of the exporters' crates. Their problems are logged, but never exported.
const EXPORTERS: &str = "opentelemetry";

/// The filter of log lines, as set by `log.filter`.
#[derive(Debug)]
pub struct Filter {
    lines: EnvFilter,
    /// When each problem was last logged. The number of entries is limited by the number of call sites in the exporters.
    last_logged: Mutex<HashMap<&'static str, Instant>>,
}

impl Filter {
    /// Creates a filter from `directives`.
    ///
    /// # Errors
    /// Returns an error if the directives cannot be parsed.
    pub fn new(directives: &str, exports: bool) -> anyhow::Result<Self> {
        let mut lines = EnvFilter::try_new(directives).context("log.filter")?;
        if exports {
            let max_level = lines.max_level_hint().unwrap_or(LevelFilter::TRACE).min(LevelFilter::WARN);
            for name in TRANSPORT {
                lines = lines.add_directive(format!("{name}=off").parse()?);
            }
            lines = lines.add_directive(format!("{EXPORTERS}={max_level}").parse()?);
        }
        Ok(Self {
            lines,
            last_logged: Mutex::default(),
        })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&self.lines, metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.lines.enabled(metadata, context)
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if !metadata.target().starts_with(EXPORTERS) {
            return true;
        }
        let mut last_logged = self.last_logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = last_logged
            .get(metadata.name())
            .is_none_or(|at| now.duration_since(*at) >= EXPORTER_LOG_INTERVAL);
        if is_due {
            last_logged.insert(metadata.name(), now);
        }
        is_due
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&self.lines)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.lines.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.lines.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.lines.on_close(id, context);
    }
}

/// Passes log lines to a collector, except those that exporting itself causes.
#[derive(Debug)]
pub struct WithoutExporters<L>(pub L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for WithoutExporters<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with(EXPORTERS) {
            self.0.on_event(event, context);
        }
    }
}
