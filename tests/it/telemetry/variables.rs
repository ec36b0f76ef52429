//! OpenTelemetry's standard variables, except for those of the exporters: samplers and propagators.

use std::time::Duration;

use super::{TRACE, collector::Collector, lines, lines_in_time, speak, told};
use crate::support::{app::TestApp, database::Backend};

async fn with(settings: &[(&str, &str)]) -> (TestApp, Collector) {
    let (collector, address) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite).env("OTEL_EXPORTER_OTLP_ENDPOINT", &address);
    for (name, value) in settings {
        app = app.env(name, value);
    }
    (app.start().await, collector)
}

/// The integrator's trace is sampled, which the server's sampler follows or ignores.
#[tokio::test]
async fn samplers_decide_what_is_recorded() {
    for (sampler, argument, traced, untraced) in [
        ("always_on", "", true, true),
        ("always_off", "", false, false),
        ("traceidratio", "0", false, false),
        ("traceidratio", "1", true, true),
        ("parentbased_always_off", "", true, false),
        ("parentbased_traceidratio", "0", true, false),
    ] {
        let (mut app, collector) = with(&[("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]).await;
        speak(&app).await;
        let event = told(&app).await;
        assert!(event.traceparent.contains(TRACE), "{sampler}: {}", event.traceparent);
        assert_eq!(
            event.traceparent.ends_with("-01"),
            traced,
            "{sampler} {argument}: {}",
            event.traceparent
        );
        app.server.terminate();
        app.server.wait().await;
        let spans = collector.spans();
        let is_traced = |span: &opentelemetry_proto::tonic::trace::v1::Span| hex::encode(&span.trace_id) == TRACE;
        assert_eq!(spans.iter().any(is_traced), traced, "{sampler} {argument}");
        // The contact was created by a request without a trace.
        assert_eq!(spans.iter().any(|span| !is_traced(span)), untraced, "{sampler} {argument}");
    }
}

#[tokio::test]
async fn propagators_decide_which_traces_continue() {
    for (propagators, goes_on) in [
        ("tracecontext", true),
        ("baggage,tracecontext", true),
        ("baggage", false),
        ("none", false),
        ("b3,tracecontext", true),
    ] {
        let (app, _collector) = with(&[("OTEL_PROPAGATORS", propagators)]).await;
        speak(&app).await;
        let event = told(&app).await;
        assert_eq!(event.traceparent.contains(TRACE), goes_on, "{propagators}: {}", event.traceparent);
        assert_eq!(event.traceparent.len(), 55, "{propagators}: the trace of our own");
        let warned = |line: &serde_json::Value| line["level"] == "WARN" && line.to_string().contains("OTEL_PROPAGATORS");
        if propagators.contains("b3") {
            let told = lines_in_time(&app, 1, warned).await;
            assert!(told[0].to_string().contains("ignoring unsupported value b3"), "{told:?}");
        } else {
            assert!(lines(&app, warned).is_empty(), "{propagators}");
        }
    }
}

/// Warnings of the SDK during its setup are logged.
#[tokio::test]
async fn invalid_variable_is_logged() {
    let (app, _collector) = with(&[
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ])
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for said in ["sometimes", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf is not supported"] {
        let told = lines(&app, |line| line["level"] == "WARN" && line.to_string().contains(said));
        assert!(!told.is_empty(), "{said} is not in\n{}", app.server.log());
    }
}
