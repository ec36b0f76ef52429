//! Logs, traces and metrics of the whole process. What is measured is decided in the rooms; here it is only carried out.
//!
//! Logs go to standard error. Rooms make their instruments with `opentelemetry::global::meter`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use prometheus::Registry;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat, Trace};

/// What observes the process; one a process.
#[derive(Debug)]
pub struct Telemetry {
    /// What `/metrics` shows.
    pub registry: Registry,
    meters: SdkMeterProvider,
    /// None: traces are not sent.
    tracers: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the global subscriber, propagator and meter provider. Must be called inside a tokio runtime, once.
    ///
    /// # Errors
    /// When something of the kind is installed already, or the exporter cannot be built.
    pub fn start(log: &Log, trace: &Trace) -> anyhow::Result<Self> {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let resource = Resource::builder()
            .with_service_name("parley")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        let meters = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(resource.clone())
            .build();
        global::set_meter_provider(meters.clone());
        let tracers = tracers(trace, resource)?;
        let spans = tracers
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("parley")));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match log.format {
            LogFormat::Text => lines.with_ansi(colours()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        };
        // One filter for all layers: with a filter per layer, log lines vanish (tokio-rs/tracing#2519).
        tracing_subscriber::registry()
            .with(filter(&log.filter, tracers.is_some())?)
            .with(spans)
            .with(lines)
            .try_init()?;
        Ok(Self { registry, meters, tracers })
    }

    /// Sends what is still kept and stops. Not cancel safe: what was not sent yet is lost.
    pub async fn shutdown(self) {
        // Both wait for threads of their own.
        let flushed = tokio::task::spawn_blocking(move || {
            let traces = self.tracers.map_or(Ok(()), |provider| provider.shutdown());
            traces.and(self.meters.shutdown())
        });
        match flushed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces or metrics were not sent"),
            Err(error) => tracing::warn!(%error, "flushing telemetry was interrupted"),
        }
    }
}

fn tracers(trace: &Trace, resource: Resource) -> anyhow::Result<Option<SdkTracerProvider>> {
    if trace.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(trace.otlp_endpoint.clone())
        .build()
        .context("trace.otlp_endpoint cannot be used")?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(trace.sample_ratio)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

/// The filter of logs and spans. The exporter is a gRPC client itself: without the last directives it would export its own exports.
fn filter(directives: &str, exporting: bool) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_new(directives).context("log.filter")?;
    if exporting {
        for own in ["hyper=off", "h2=off", "tonic=off", "tower=off"] {
            filter = filter.add_directive(own.parse()?);
        }
    }
    Ok(filter)
}

/// Whether log lines are coloured: for a terminal, unless <https://no-color.org> says no.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
