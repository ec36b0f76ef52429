//! Export of traces, metrics and logs over OTLP, to the configured endpoint or to the one in OpenTelemetry's standard environment
//! variables.
//!
//! The SDK itself reads most of the standard variables (samplers, limits, batches, headers, timeouts, resource attributes). This module
//! handles what the SDK leaves to the application: whether the SDK is enabled, which endpoint enables exporting, and propagators.

use anyhow::Context as _;
use opentelemetry::{KeyValue, propagation::TextMapCompositePropagator};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::SdkMeterProvider,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::{Sampler, SdkTracerProvider},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use uuid::Uuid;

use crate::config::{Trace, without_password};
use parley_telemetry::names::{SCHEMA_URL, SERVICE_INSTANCE_ID, SERVICE_NAME};

/// The providers of the enabled exports.
#[derive(Debug, Default)]
pub struct Exports {
    pub tracers: Option<SdkTracerProvider>,
    /// Exports log lines.
    pub loggers: Option<SdkLoggerProvider>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

/// Returns whether the standard variables disable telemetry.
fn is_disabled() -> bool {
    variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The telemetry signals, as spelled in the names of the standard environment variables.
const SIGNALS: [&str; 3] = ["TRACES", "METRICS", "LOGS"];

/// Returns the value and name of an exporter variable: the variable for this signal, or else the variable for all signals.
fn signal_variable(signal: &str, name: &str) -> Option<(String, String)> {
    [format!("OTEL_EXPORTER_OTLP_{signal}_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
        .into_iter()
        .find_map(|variable_name| Some((variable(&variable_name)?, variable_name)))
}

/// Returns the endpoint to which a signal is exported, or `None` if it is not exported. This is the configured endpoint, or else the one in
/// the variables for this signal or for all signals. An endpoint without a scheme uses TLS unless an `INSECURE` variable is `true`.
fn endpoint(trace: &Trace, signal: &str) -> Option<String> {
    let none = variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter == "none");
    if none || is_disabled() {
        return None;
    }
    let configured = Some(trace.otlp_endpoint.clone()).filter(|endpoint| !endpoint.is_empty());
    let endpoint = configured.or_else(|| Some(signal_variable(signal, "ENDPOINT")?.0))?;
    if endpoint.contains("://") {
        return Some(endpoint);
    }
    let insecure = signal_variable(signal, "INSECURE").is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"));
    Some(format!("{}://{endpoint}", if insecure { "http" } else { "https" }))
}

/// Returns the distinct endpoints of all signals.
pub fn endpoints(trace: &Trace) -> Vec<String> {
    let mut all: Vec<String> = SIGNALS.iter().filter_map(|signal| endpoint(trace, signal)).collect();
    all.sort();
    all.dedup();
    all
}

/// Configures an exporter's endpoint. Endpoints with TLS trust the authorities named by the standard environment variables, or else those
/// of the machine.
///
/// # Errors
/// Returns an error if a file named by the standard environment variables cannot be read.
fn configure_exporter<B: WithExportConfig + WithTonicConfig>(builder: B, endpoint: String, signal: &str) -> anyhow::Result<B> {
    if let Some((protocol, name)) = signal_variable(signal, "PROTOCOL").filter(|(protocol, _)| protocol != "grpc") {
        let shown = without_password(&endpoint);
        tracing::warn!("{name}={protocol} is not supported: exporting {signal} to {shown} over gRPC instead");
    }
    let is_secure = endpoint.starts_with("https://");
    let builder = builder.with_endpoint(endpoint);
    if !is_secure {
        return Ok(builder);
    }
    Ok(builder.with_tls_config(tls(signal)?))
}

/// Returns the distinct problems with the files that the standard environment variables name for endpoints with TLS. The server does not
/// start if a file cannot be read, and exports nothing if a file is invalid.
pub fn credentials(trace: &Trace) -> Vec<anyhow::Error> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for signal in SIGNALS {
        if !endpoint(trace, signal).is_some_and(|endpoint| endpoint.starts_with("https://")) {
            continue;
        }
        let parsed = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"].map(|name| match signal_variable(signal, name) {
            Some((path, variable)) => check_pem(name, &path).with_context(|| format!("{variable}={path}")),
            None => Ok(()),
        });
        for error in parsed.into_iter().chain([tls(signal).map(drop)]).filter_map(Result::err) {
            let message = error.to_string();
            if !errors.iter().any(|known| message.starts_with(&known.to_string())) {
                errors.push(error);
            }
        }
    }
    errors
}

/// Checks that a file contains a private key or a certificate, depending on the name of the variable that names the file.
fn check_pem(name: &str, path: &str) -> anyhow::Result<()> {
    match name {
        "CLIENT_KEY" => PrivateKeyDer::from_pem_file(path).map(drop)?,
        _ => CertificateDer::from_pem_file(path).map(drop)?,
    }
    Ok(())
}

/// Returns the trusted authorities and the client certificate of a signal's exporter.
///
/// # Errors
/// Returns an error if a file named by the standard environment variables cannot be read.
fn tls(signal: &str) -> anyhow::Result<ClientTlsConfig> {
    let file = |name: &str| {
        signal_variable(signal, name)
            .map(|(path, name)| std::fs::read(&path).with_context(|| format!("{name}={path} cannot be read")))
            .transpose()
    };
    let tls = match file("CERTIFICATE")? {
        Some(authority) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    let tls = match (file("CLIENT_CERTIFICATE")?, file("CLIENT_KEY")?) {
        (Some(certificate), Some(key)) => tls.identity(Identity::from_pem(certificate, key)),
        (None, None) => tls,
        _ => anyhow::bail!("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY must be set together"),
    };
    Ok(tls)
}

/// Returns the resource: the service name `parley` and a random instance ID, unless the standard variables set others.
pub fn resource() -> Resource {
    let mut resource = Resource::builder().with_schema_url([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))], SCHEMA_URL);
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let has = |name: &str| {
        attributes
            .split(',')
            .any(|one| one.split_once('=').is_some_and(|(key, _)| key.trim() == name))
    };
    if variable("OTEL_SERVICE_NAME").is_none() && !has(SERVICE_NAME) {
        resource = resource.with_service_name("parley");
    }
    // Without an instance ID, a backend cannot distinguish the cumulative series of two replicas.
    if !has(SERVICE_INSTANCE_ID) {
        resource = resource.with_attribute(KeyValue::new(SERVICE_INSTANCE_ID, Uuid::new_v4().to_string()));
    }
    resource.build()
}

/// Returns the propagators for incoming trace contexts: `OTEL_PROPAGATORS` supports `tracecontext`, `baggage` and `none`, and defaults to
/// the first two.
pub fn propagator() -> TextMapCompositePropagator {
    let wanted = variable("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut all: Vec<Box<dyn opentelemetry::propagation::TextMapPropagator + Send + Sync>> = Vec::new();
    for name in wanted.split(',').map(str::trim).filter(|_| !is_disabled()) {
        match name {
            "tracecontext" => all.push(Box::new(TraceContextPropagator::new())),
            "baggage" => all.push(Box::new(BaggagePropagator::new())),
            "none" | "" => {}
            other => {
                tracing::warn!("OTEL_PROPAGATORS: ignoring unsupported value {other}; supported values are tracecontext, baggage and none");
            }
        }
    }
    TextMapCompositePropagator::new(all)
}

/// Builds the exporters of traces and logs.
///
/// # Errors
/// Returns an error if an exporter cannot be built.
pub fn exports(trace: &Trace, resource: &Resource) -> anyhow::Result<Exports> {
    let tracers = endpoint(trace, "TRACES")
        .map(|endpoint| tracers(trace, endpoint, resource))
        .transpose()?;
    let loggers = endpoint(trace, "LOGS").map(|endpoint| loggers(endpoint, resource)).transpose()?;
    Ok(Exports { tracers, loggers })
}

fn tracers(trace: &Trace, endpoint: String, resource: &Resource) -> anyhow::Result<SdkTracerProvider> {
    let exporter = configure_exporter(SpanExporter::builder().with_tonic(), endpoint, "TRACES")?;
    let exporter = exporter.build().context("traces cannot be exported")?;
    let mut provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.clone());
    // Set no sampler if `OTEL_TRACES_SAMPLER` is set, because the SDK reads that variable itself.
    if variable("OTEL_TRACES_SAMPLER").is_none() {
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(trace.sample_ratio)));
        provider = provider.with_sampler(sampler);
    }
    Ok(provider.build())
}

fn loggers(endpoint: String, resource: &Resource) -> anyhow::Result<SdkLoggerProvider> {
    let exporter = configure_exporter(LogExporter::builder().with_tonic(), endpoint, "LOGS")?;
    let exporter = exporter.build().context("logs cannot be exported")?;
    Ok(SdkLoggerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.clone())
        .build())
}

/// Builds the meter provider, which serves `/metrics`, and exports to a collector if one is configured.
///
/// # Errors
/// Returns an error if an exporter cannot be built.
pub fn meters(trace: &Trace, registry: &prometheus::Registry, resource: Resource) -> anyhow::Result<SdkMeterProvider> {
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    let mut meters = SdkMeterProvider::builder().with_reader(reader).with_resource(resource);
    if let Some(endpoint) = endpoint(trace, "METRICS") {
        let exporter = configure_exporter(MetricExporter::builder().with_tonic(), endpoint, "METRICS")?;
        meters = meters.with_periodic_exporter(exporter.build().context("metrics cannot be exported")?);
    }
    Ok(meters.build())
}
