//! Log lines with the call they belong to and the ids of its trace, for people and for programs.

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

/// A format of lines that adds `rpc.method` within a call, and `trace_id` and `span_id` where there is a trace.
#[derive(Debug)]
pub struct Traced<F>(pub F);

/// What lines of this thread belong to: the ids are of our own span, or of the caller's where we make none.
fn belonging() -> Vec<(&'static str, String)> {
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

impl<S, N> FormatEvent<S, N> for Traced<Format<Full>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}", line.trim_end_matches('\n'))?;
        for (name, value) in belonging() {
            write!(writer, " {name}={value}")?;
        }
        writeln!(writer)
    }
}

impl<S, N> FormatEvent<S, N> for Traced<Format<Json>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // An object, whose end is put off.
        let open = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        write!(writer, "{open}")?;
        for (name, value) in belonging() {
            write!(writer, r#","{name}":"{value}""#)?;
        }
        writeln!(writer, "}}")
    }
}
