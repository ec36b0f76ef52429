//! W3C trace contexts. A request's context is stored with the events that the request causes, so that the processing of the events can be
//! linked to the request.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::Extractor,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};

/// The name of the HTTP header and gRPC metadata key that carries a trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The RPC method of the current call. It is stored in the call's context, from which log lines read it.
#[derive(Clone, Copy, Debug)]
pub struct Method(pub &'static str);

/// Returns the `traceparent` of the current span, or `None` if tracing is off or the span was not created by Parley.
pub fn own() -> Option<String> {
    let context = Context::current();
    is_ours(&context).then(|| written(context.span().span_context()))
}

fn is_ours(context: &Context) -> bool {
    let span = context.span();
    let span = span.span_context();
    span.is_valid() && !span.is_remote()
}

/// Returns the parent context for a request: the current context if Parley created its span or the headers contain no `traceparent`,
/// otherwise the caller's context from the headers.
pub fn asked_for(headers: &http::HeaderMap) -> Context {
    let current = Context::current();
    if is_ours(&current) || !headers.contains_key(TRACEPARENT) {
        return current;
    }
    opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract_with_context(&current, &Headers(headers)))
}

/// Parses a stored `traceparent` as the context of a remote span. Returns `None` if it is empty or invalid.
pub fn stored(traceparent: &str) -> Option<SpanContext> {
    let traceparent = read(traceparent)?;
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn written(span: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        span.trace_id(),
        span.span_id(),
        span.trace_flags() & TraceFlags::SAMPLED
    )
}

/// Returns the caller's `traceparent` header in the form in which it is stored, or `None` if the header is invalid. Fields that a later
/// version of the standard appends are dropped, as the standard requires.
pub fn read(header: &str) -> Option<String> {
    let (head, rest) = header.split_at_checked(55)?;
    let mut parts = head.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |text: &str, digits: usize| hex(text, digits) && text.bytes().any(|byte| byte != b'0');
    if !hex(version, 2) || version == "ff" || !some(trace, 32) || !some(span, 16) || !hex(flags, 2) {
        return None;
    }
    match (version, rest) {
        ("00", "") => Some(head.to_owned()),
        ("00", _) => None,
        (_, rest) if rest.is_empty() || rest.starts_with('-') => Some(format!("00-{trace}-{span}-{flags}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn parses_traceparent_per_w3c() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(read(&good).as_deref(), Some(good.as_str()));
        let later = format!("01-{TRACE}-b7ad6b7169203331-01-more");
        assert_eq!(read(&later), Some(good.clone()));
        for bad in [
            String::new(),
            "-".repeat(55),
            "a".repeat(55),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("01-{TRACE}-b7ad6b7169203331-01more"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-b7ad6b7169203331-0x"),
            format!("00-{TRACE}b7ad6b7169203331-01--"),
            format!("00-{TRACE}-b7ad6b716920333é-1"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn stored_context_is_a_remote_span() {
        let span = stored(&format!("00-{TRACE}-b7ad6b7169203331-03")).unwrap();
        assert_eq!(span.trace_id().to_string(), TRACE);
        assert_eq!(span.span_id().to_string(), "b7ad6b7169203331");
        assert_eq!(span.trace_flags(), TraceFlags::SAMPLED);
        assert!(span.is_remote() && span.is_valid());
        assert_eq!(stored(""), None);
        assert_eq!(stored(&format!("00-{TRACE}-{}-01", "0".repeat(16))), None);
    }

    #[test]
    fn remote_spans_are_not_own() {
        let span = |is_remote| SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, is_remote, TraceState::NONE);
        assert_eq!(own(), None);
        let _entered = Context::new().with_remote_span_context(span(true)).attach();
        assert_eq!(own(), None);
        let _entered = Context::new().with_remote_span_context(span(false)).attach();
        assert_eq!(own().as_deref(), Some("00-00000000000000000000000000000007-0000000000000009-01"));
    }
}
