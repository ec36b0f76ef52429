//! Formats log lines as text or JSON, with the RPC method and the trace IDs to which they belong.

use std::fmt;

use opentelemetry::{Context, trace::TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, Writer},
    },
    registry::LookupSpan,
};

use parley_telemetry::{context::Method, names::RPC_METHOD};

/// A log format that adds `rpc.method` within a call, and `trace_id` and `span_id` within a trace.
#[derive(Debug)]
pub struct WithTraceContext<F>(pub F);

/// Returns the RPC method, trace ID and span ID for log lines in the current context. The IDs are those of the server's own span, or of the
/// caller's span if the server creates none.
fn context_fields() -> Vec<(&'static str, String)> {
    Context::map_current(|context| {
        let method = context.get::<Method>().map(|method| (RPC_METHOD, method.0.to_owned()));
        let span = context.span();
        let span = span.span_context();
        let ids = span
            .is_valid()
            .then(|| [("trace_id", span.trace_id().to_string()), ("span_id", span.span_id().to_string())]);
        method.into_iter().chain(ids.into_iter().flatten()).collect()
    })
}

impl<S, N> FormatEvent<S, N> for WithTraceContext<Format<Full>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}", line.trim_end_matches('\n'))?;
        for (name, value) in context_fields() {
            write!(writer, " {name}={value}")?;
        }
        writeln!(writer)
    }
}

impl<S, N> FormatEvent<S, N> for WithTraceContext<Format<Json>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // The line is a JSON object: reopen it to append fields.
        let open = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        write!(writer, "{open}")?;
        for (name, value) in context_fields() {
            write!(writer, r#","{name}":"{value}""#)?;
        }
        writeln!(writer, "}}")
    }
}
