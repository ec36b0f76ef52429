//! The way from whoever caused an event to whoever works on it, as one trace leads to another.

use std::collections::HashMap;

use opentelemetry::{propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::pb;

/// A span for working on an event, by the conventions for messaging, linked to the request that caused the event where that was traced. A
/// link and not a parent: one request may cause many events, and work on them may come days later.
pub fn processing(event: &pb::Event) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.kind = "consumer",
        messaging.system = "parley",
        messaging.operation.r#type = "process",
        messaging.destination.name = event.account_id,
        messaging.message.id = event.seq,
    );
    let carrier = HashMap::from([("traceparent".to_owned(), event.traceparent.clone())]);
    let cause = TraceContextPropagator::new().extract(&carrier);
    let cause = cause.span().span_context().clone();
    if cause.is_valid() {
        span.add_link(cause);
    }
    span
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn work_on_an_event_is_linked_to_its_cause() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let caused = pb::Event {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            ..pb::Event::default()
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(processing(&caused).entered());
            drop(processing(&pb::Event::default()).entered());
        });
        let spans = exporter.get_finished_spans().unwrap();
        let links: Vec<Vec<String>> = spans
            .iter()
            .map(|span| span.links.iter().map(|link| link.span_context.trace_id().to_string()).collect())
            .collect();
        assert_eq!(links, [vec!["0af7651916cd43dd8448eb211c80319c".to_owned()], Vec::<String>::new()]);
    }
}
