//! Links the processing of an event to the trace of the request that caused it.

use parley_proto as pb;
use parley_telemetry::{
    context,
    names::{
        MESSAGING_DESTINATION_NAME, MESSAGING_MESSAGE_ID, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, OTEL_KIND,
    },
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Creates a span for the processing of an event, following OpenTelemetry's semantic conventions for messaging. If the request that caused
/// the event was traced, the span is linked to it. The request's span is linked instead of being the parent, because one request may cause
/// many events, and they may be processed days later.
///
/// The link requires that the program's `tracing` subscriber contains the layer from `tracing-opentelemetry`, in a version compatible with
/// the one that this crate uses.
pub fn processing(event: &pb::Event) -> Span {
    let span = tracing::info_span!(
        "process",
        { OTEL_KIND } = "consumer",
        { MESSAGING_SYSTEM } = "parley",
        { MESSAGING_OPERATION_NAME } = "process",
        { MESSAGING_OPERATION_TYPE } = "process",
        { MESSAGING_DESTINATION_NAME } = event.account_id.to_string(),
        { MESSAGING_MESSAGE_ID } = event.event_id,
    );
    if let Some(cause) = context::stored(&event.traceparent) {
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
    fn processing_span_links_to_its_cause() {
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
