//! Log lines with the ids of their trace, for people and for programs.

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

/// A format of lines that adds `trace_id` and `span_id` where there is a trace.
#[derive(Debug)]
pub struct Traced<F>(pub F);

/// The ids of the trace that this thread is in: of our own span, or of the caller's where we make none.
fn ids() -> Option<(String, String)> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| (span.trace_id().to_string(), span.span_id().to_string()))
}

impl<S, N> FormatEvent<S, N> for Traced<Format<Full>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some((trace, span)) = ids() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, "{} trace_id={trace} span_id={span}", line.trim_end_matches('\n'))
    }
}

impl<S, N> FormatEvent<S, N> for Traced<Format<Json>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some((trace, span)) = ids() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // An object, whose end is put off.
        let open = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        writeln!(writer, r#"{open},"trace_id":"{trace}","span_id":"{span}"}}"#)
    }
}
