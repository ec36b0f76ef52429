//! Sets up logs, traces and metrics for the whole process. The other crates decide what is measured.
//!
//! Logs go to standard error. Crates create their instruments with [`names::meter`](parley_telemetry::names::meter), under the names
//! defined there.

use std::io::IsTerminal as _;

use opentelemetry::global;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use tracing::Subscriber;
use tracing_subscriber::{Layer, fmt::format, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _};

use parley_telemetry::{escape::EscapedFields, span};

use crate::config::{Log, LogFormat, Trace};

mod export;
mod filter;
pub mod lines;

use export::Exports;
pub use export::{credentials, endpoints};
use filter::{Filter, WithoutExporters};
use lines::WithTraceContext;

/// The telemetry of the process. There is one instance per process.
#[derive(Debug)]
pub struct Telemetry {
    /// The metrics served at `/metrics`.
    pub registry: Registry,
    meters: SdkMeterProvider,
    exports: Exports,
}

impl Telemetry {
    /// Installs the global subscriber, propagator and meter provider. Must be called once, inside a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if a subscriber is already installed, or an exporter cannot be built.
    pub fn start(log: &Log, trace: &Trace) -> anyhow::Result<Self> {
        let resource = export::resource();
        let registry = Registry::new();
        // Use a temporary subscriber during setup, to log what the SDK reports about its environment variables.
        let first = tracing_subscriber::registry()
            .with(Filter::new(&log.filter, true)?)
            .with(lines(log));
        let (propagator, exports, meters) = tracing::subscriber::with_default(first, || {
            let exports = export::exports(trace, &resource)?;
            anyhow::Ok((export::propagator(), exports, export::meters(trace, &registry, resource)?))
        })?;
        global::set_text_map_propagator(propagator);
        global::set_meter_provider(meters.clone());
        // Libraries create `tracing` spans: sea-orm's statement spans become children of Parley's spans if `log.filter` admits them. Source
        // location, thread and waiting time are omitted, because recording them costs more than the rest of the span.
        let spans = exports.tracers.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_tracer(span::install(provider))
        });
        let records = exports.loggers.as_ref().map(OpenTelemetryTracingBridge::new).map(WithoutExporters);
        let exports_any = exports.tracers.is_some() || records.is_some();
        tracing_subscriber::registry()
            .with(Filter::new(&log.filter, exports_any)?)
            .with(spans)
            .with(records)
            .with(lines(log))
            .try_init()?;
        Ok(Self { registry, meters, exports })
    }

    /// Flushes buffered telemetry and shuts down. Not cancel safe: telemetry that has not been sent yet is lost.
    pub async fn shutdown(self) {
        // Each call to `shutdown` blocks until the provider's own thread has finished.
        let flushed = tokio::task::spawn_blocking(move || {
            let traces = self.exports.tracers.map_or(Ok(()), |provider| provider.shutdown());
            let logs = self.exports.loggers.map_or(Ok(()), |provider| provider.shutdown());
            traces.and(logs).and(self.meters.shutdown())
        });
        match flushed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to export the remaining traces, logs or metrics"),
            Err(error) => tracing::warn!(%error, "the task that exports the remaining telemetry panicked or was cancelled"),
        }
    }
}

/// Returns the layer that writes log lines to standard error.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(log: &Log) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines
            .with_ansi(colours())
            .fmt_fields(EscapedFields)
            .event_format(WithTraceContext(format().with_ansi(colours())))
            .boxed(),
        LogFormat::Json => lines
            .json()
            .event_format(WithTraceContext(format().json().flatten_event(true).with_span_list(false)))
            .boxed(),
    }
}

/// Returns whether to color log lines: only in a terminal, and unless `NO_COLOR` is set (<https://no-color.org>).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
