//! Creates Parley's own spans through OpenTelemetry's API. For work that is not sampled, this API only generates ids, whereas `tracing`
//! would build complete spans and then discard them.

use std::{borrow::Cow, sync::OnceLock};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{Link, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::names;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Directs the spans of this process to `provider`, and returns the tracer. Only the first call has an effect.
pub fn install(provider: &SdkTracerProvider) -> SdkTracer {
    let scope = InstrumentationScope::builder("parley")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(names::SCHEMA_URL)
        .build();
    TRACER.get_or_init(|| provider.tracer_with_scope(scope)).clone()
}

/// Starts a span as a child of `parent` and returns the context for the span's work, or `parent` itself if no tracer is installed.
/// `described` returns the span's name and attributes, and is called only if the span is recorded. The span lasts until [`end`] is called
/// or the last clone of the context is dropped.
pub fn begin<F>(parent: &Context, kind: SpanKind, links: Vec<Link>, described: F) -> Context
where
    F: FnOnce() -> (Cow<'static, str>, Vec<KeyValue>),
{
    let Some(tracer) = TRACER.get() else { return parent.clone() };
    let builder = SpanBuilder::from_name("").with_kind(kind).with_links(links);
    let context = parent.with_span(tracer.build_with_context(builder, parent));
    let span = context.span();
    if span.is_recording() {
        let (name, attributes) = described();
        span.update_name(name);
        span.set_attributes(attributes);
    }
    context
}

/// Ends the span of a context that [`begin`] returned, after adding `attributes` to it. `is_fault` marks an error of the server, as opposed
/// to an error of its caller.
pub fn end(context: &Context, is_fault: bool, attributes: impl FnOnce() -> Vec<KeyValue>) {
    let span = context.span();
    if !span.is_recording() {
        return;
    }
    span.set_attributes(attributes());
    if is_fault {
        span.set_status(Status::error(""));
    }
    span.end();
}
