//! Where traces, metrics and logs go by OTLP: where the configuration says, or else OpenTelemetry's standard variables.
//!
//! The SDK reads most of those variables by itself (samplers, limits, batches, headers, timeouts, resource attributes). What it leaves to its
//! user is here: whether there is an SDK at all, which endpoint turns exporting on, and propagators.

use anyhow::Context as _;
use opentelemetry::{KeyValue, propagation::TextMapCompositePropagator};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::SdkMeterProvider,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::{Sampler, SdkTracerProvider},
};

use super::names::SCHEMA_URL;
use crate::config::Trace;

/// What is exported, each or none.
#[derive(Debug, Default)]
pub struct Exports {
    /// Traces.
    pub tracers: Option<SdkTracerProvider>,
    /// Log lines.
    pub loggers: Option<SdkLoggerProvider>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

/// Whether the standard variables turn everything off.
fn is_disabled() -> bool {
    variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a signal is exported, by the configuration or by the variables for all signals and for this one.
fn is_wanted(trace: &Trace, signal: &str) -> bool {
    let none = variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter == "none");
    let specific = variable(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    let somewhere = !trace.otlp_endpoint.is_empty() || specific.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT")).is_some();
    somewhere && !none && !is_disabled()
}

/// Who speaks: `parley`, unless the standard variables say otherwise.
pub fn resource() -> Resource {
    let mut resource = Resource::builder().with_schema_url([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))], SCHEMA_URL);
    let named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.split(',').any(|one| one.trim().starts_with("service.name=")));
    if !named {
        resource = resource.with_service_name("parley");
    }
    resource.build()
}

/// How trace contexts come in: `OTEL_PROPAGATORS` of `tracecontext`, `baggage` and `none`, the first two by default.
pub fn propagator() -> TextMapCompositePropagator {
    let wanted = variable("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut all: Vec<Box<dyn opentelemetry::propagation::TextMapPropagator + Send + Sync>> = Vec::new();
    for name in wanted.split(',').map(str::trim).filter(|_| !is_disabled()) {
        match name {
            "tracecontext" => all.push(Box::new(TraceContextPropagator::new())),
            "baggage" => all.push(Box::new(BaggagePropagator::new())),
            _ => {}
        }
    }
    TextMapCompositePropagator::new(all)
}

/// Exporters of traces and logs.
///
/// # Errors
/// When an exporter cannot be built.
pub fn exports(trace: &Trace, resource: &Resource) -> anyhow::Result<Exports> {
    let tracers = is_wanted(trace, "TRACES").then(|| tracers(trace, resource)).transpose()?;
    let loggers = is_wanted(trace, "LOGS").then(|| loggers(trace, resource)).transpose()?;
    Ok(Exports { tracers, loggers })
}

fn tracers(trace: &Trace, resource: &Resource) -> anyhow::Result<SdkTracerProvider> {
    let mut exporter = SpanExporter::builder().with_tonic();
    if !trace.otlp_endpoint.is_empty() {
        exporter = exporter.with_endpoint(trace.otlp_endpoint.clone());
    }
    let exporter = exporter.build().context("trace.otlp_endpoint cannot be used for traces")?;
    let mut provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.clone());
    // Without one, the SDK reads the variable itself.
    if variable("OTEL_TRACES_SAMPLER").is_none() {
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(trace.sample_ratio)));
        provider = provider.with_sampler(sampler);
    }
    Ok(provider.build())
}

fn loggers(trace: &Trace, resource: &Resource) -> anyhow::Result<SdkLoggerProvider> {
    let mut exporter = LogExporter::builder().with_tonic();
    if !trace.otlp_endpoint.is_empty() {
        exporter = exporter.with_endpoint(trace.otlp_endpoint.clone());
    }
    let exporter = exporter.build().context("trace.otlp_endpoint cannot be used for logs")?;
    Ok(SdkLoggerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.clone())
        .build())
}

/// What measures: for `/metrics`, and for a collector where one is wanted.
///
/// # Errors
/// When an exporter cannot be built.
pub fn meters(trace: &Trace, registry: &prometheus::Registry, resource: Resource) -> anyhow::Result<SdkMeterProvider> {
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    let mut meters = SdkMeterProvider::builder().with_reader(reader).with_resource(resource);
    if is_wanted(trace, "METRICS") {
        let mut exporter = MetricExporter::builder().with_tonic();
        if !trace.otlp_endpoint.is_empty() {
            exporter = exporter.with_endpoint(trace.otlp_endpoint.clone());
        }
        meters = meters.with_periodic_exporter(exporter.build().context("trace.otlp_endpoint cannot be used for metrics")?);
    }
    Ok(meters.build())
}
