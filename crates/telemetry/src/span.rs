//! Spans of Parley's own, made by OpenTelemetry's interface itself: of work that is not sampled only the ids are made, where spans of `tracing`
//! would be made whole and thrown away.

use std::{borrow::Cow, sync::OnceLock};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{Link, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::names;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends the process's spans to `provider` from here on; the first one stays. By what they are made.
pub fn install(provider: &SdkTracerProvider) -> SdkTracer {
    let scope = InstrumentationScope::builder("parley")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(names::SCHEMA_URL)
        .build();
    TRACER.get_or_init(|| provider.tracer_with_scope(scope)).clone()
}

/// Begins a span within `parent`, and gives the context that belongs around its work: `parent` itself where nobody takes spans. `described`
/// tells its name and attributes, and is asked only if it is recorded. It lasts until [`end`], or until nobody has the context any more.
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

/// Ends the span of a context that [`begin`] gave, with what is known of it by now. A fault is the server's, not its caller's.
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
