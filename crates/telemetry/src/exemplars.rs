//! Exemplars: the latest sampled trace in each bucket of a histogram. The OpenTelemetry SDK does not keep exemplars, and the Prometheus
//! text format cannot represent them, whereas `OpenMetrics` can.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{Context, KeyValue, trace::TraceContextExt as _};

#[derive(Clone, Debug)]
struct Exemplar {
    trace: String,
    span: String,
    value: f64,
    at: f64,
}

/// One exemplar per histogram bucket, by metric family and labels. The number of entries is bounded by the number of series of the recorded
/// histograms.
type Seen = HashMap<(&'static str, Vec<String>), Vec<Option<Exemplar>>>;

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// Returns a name as Prometheus spells it: with underscores instead of dots.
fn spelled(name: &str) -> String {
    name.replace('.', "_")
}

/// Records `value` as the exemplar of its bucket in the histogram `family` if the current trace is sampled. `family` is spelled as in
/// Prometheus.
pub fn note(family: &'static str, labels: &[KeyValue], bounds: &[f64], value: f64) {
    let context = Context::current();
    let span = context.span().span_context().clone();
    if !span.is_sampled() {
        return;
    }
    let labels = labels
        .iter()
        .map(|label| format!("{}=\"{}\"", spelled(label.key.as_str()), label.value))
        .collect();
    let bucket = bounds.partition_point(|bound| *bound < value);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let exemplar = Exemplar {
        trace: span.trace_id().to_string(),
        span: span.span_id().to_string(),
        value,
        at: since.as_secs_f64(),
    };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let buckets = seen.entry((family, labels)).or_insert_with(|| vec![None; bounds.len() + 1]);
    buckets[bucket] = Some(exemplar);
}

/// Converts metrics from the Prometheus text format to `OpenMetrics` 1.0, and adds the exemplars.
pub fn open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix("_total counter"))
        .collect();
    // The buckets of a series follow each other in ascending order, and their counts are cumulative: a value belongs to the first bucket
    // whose upper bound is not below the value.
    let mut below = f64::NEG_INFINITY;
    for line in text.lines() {
        // In `OpenMetrics`, the samples of a counter have the suffix `_total`, whereas the name of its family does not.
        if let Some((word, rest)) = line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
            let family = name
                .strip_suffix("_total")
                .filter(|family| counters.contains(family))
                .unwrap_or(name);
            let _ = writeln!(out, "# {word} {family} {said}");
            continue;
        }
        out.push_str(line);
        if let Some(bound) = bound_of(line) {
            if bound <= below {
                below = f64::NEG_INFINITY;
            }
            if let Some(exemplar) = of(&seen, line, below, bound) {
                let Exemplar { trace, span, value, at } = exemplar;
                let _ = write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {value} {at:.3}");
            }
            below = bound;
        }
        out.push('\n');
    }
    out.push_str("# EOF\n");
    out
}

/// Returns the upper bound of the bucket on this line, or `None` if the line is not a bucket.
fn bound_of(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("_bucket{")?;
    let (_, bound) = rest.split_once("le=\"")?;
    let (bound, _) = bound.split_once('"')?;
    if bound == "+Inf" { Some(f64::INFINITY) } else { bound.parse().ok() }
}

fn of<'s>(seen: &'s Seen, line: &str, below: f64, bound: f64) -> Option<&'s Exemplar> {
    let (family, labels) = line.split_once("_bucket{")?;
    let (_, buckets) = seen
        .iter()
        .find(|((name, pieces), _)| *name == family && pieces.iter().all(|piece| labels.contains(piece.as_str())))?;
    buckets
        .iter()
        .flatten()
        .find(|exemplar| below < exemplar.value && exemplar.value <= bound)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn buckets_have_exemplars_of_their_traces() {
        let span = |flags| SpanContext::new(TraceId::from(7), SpanId::from(9), flags, true, TraceState::NONE);
        let note_in = |flags, value| {
            let _entered = Context::new().with_remote_span_context(span(flags)).attach();
            note("took_seconds", &[KeyValue::new("rpc.method", "a/B")], &[0.1, 1.0], value);
        };
        note_in(TraceFlags::default(), 0.05);
        note_in(TraceFlags::SAMPLED, 0.5);
        note_in(TraceFlags::SAMPLED, 3.0);
        let text = "# HELP took_seconds How long\n# TYPE took_seconds histogram\n\
                    took_seconds_bucket{rpc_method=\"a/B\",le=\"0.1\"} 1\n\
                    took_seconds_bucket{rpc_method=\"a/B\",le=\"1\"} 2\n\
                    took_seconds_bucket{rpc_method=\"a/B\",le=\"+Inf\"} 3\n\
                    took_seconds_bucket{rpc_method=\"c/D\",le=\"1\"} 2\n\
                    # HELP calls_total Calls\n# TYPE calls_total counter\ncalls_total 3\n";
        let lines: Vec<String> = open_metrics(text).lines().map(str::to_owned).collect();
        let trace = " # {trace_id=\"00000000000000000000000000000007\",span_id=\"0000000000000009\"}";
        assert_eq!(lines[2], "took_seconds_bucket{rpc_method=\"a/B\",le=\"0.1\"} 1");
        assert!(
            lines[3].starts_with(&format!("took_seconds_bucket{{rpc_method=\"a/B\",le=\"1\"}} 2{trace} 0.5 ")),
            "{}",
            lines[3]
        );
        assert!(lines[4].contains(&format!("{trace} 3 ")), "{}", lines[4]);
        assert_eq!(lines[5], "took_seconds_bucket{rpc_method=\"c/D\",le=\"1\"} 2");
        assert_eq!(
            &lines[6..],
            ["# HELP calls Calls", "# TYPE calls counter", "calls_total 3", "# EOF"]
        );
    }
}
