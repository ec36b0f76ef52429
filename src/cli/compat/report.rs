//! Aggregates judged calls: one row for each combination of method, route and verdict. Memory use depends on the number of routes, not on
//! the size of the log.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    format::Reading,
    judge::{Judgement, Verdict},
    non_api::NonApi,
};

/// Maximum number of rows. Served and documented routes number a few hundred; other routes are combinations of documented segments, of
/// which there can be many.
const MAX_ROWS: usize = 2000;

/// Maximum number of ignored parameter names stored per row.
const MAX_NAMES: usize = 20;

/// The counts for one combination of method, route and verdict.
#[derive(Debug)]
pub struct Row {
    /// The HTTP method as sent by the client.
    pub method: String,
    pub route: String,
    pub verdict: Verdict,
    /// Number of calls in this row.
    pub calls: u64,
    /// Number of calls to which Chatwoot responded with 404 or a server error.
    pub failed: u64,
    /// Number of calls that Parley would reject because it understands none of their fields.
    pub refused: u64,
    /// The number of the log line or HAR entry with the first call.
    pub first: u64,
    /// Names of the parameters that Parley ignores, each with the number of calls that contain it.
    pub ignored: BTreeMap<String, u64>,
    /// Whether Parley ignores more parameters than `ignored` contains.
    pub ignores_more: bool,
    /// Indices of the documented differences that affect, or might affect, the calls.
    pub differences: BTreeSet<usize>,
    /// The documented alternative to the route; empty if there is none.
    pub instead: String,
}

/// The results for all calls.
#[derive(Debug, Default)]
pub struct Report {
    rows: BTreeMap<(String, String, Verdict), Row>,
    /// Requests that are not API calls.
    pub others: BTreeMap<NonApi, u64>,
    /// Number of absent and failed calls that have no row because the row limit was reached.
    pub unlisted: BTreeMap<Verdict, u64>,
    /// Whether any call had a body that could be examined.
    pub has_bodies: bool,
}

impl Report {
    /// Counts a request that is not an API call.
    pub fn other(&mut self, other: NonApi) {
        *self.others.entry(other).or_default() += 1;
    }

    /// Counts an API call. `position` is the number of its log line or HAR entry.
    pub fn call(&mut self, position: u64, call: Judgement) {
        let key = (call.route, call.method.to_string(), call.verdict);
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            *self.unlisted.entry(call.verdict).or_default() += 1;
            return;
        }
        let row = self.rows.entry(key).or_insert_with_key(|(route, method, verdict)| Row {
            method: method.clone(),
            route: route.clone(),
            verdict: *verdict,
            calls: 0,
            failed: 0,
            refused: 0,
            first: position,
            ignored: BTreeMap::new(),
            ignores_more: false,
            differences: BTreeSet::new(),
            instead: call.instead,
        });
        row.calls += 1;
        row.failed += u64::from(call.has_failed);
        row.refused += u64::from(call.is_refused);
        row.differences.extend(call.differences);
        for name in call.ignored {
            if let Some(calls) = row.ignored.get_mut(&name) {
                *calls += 1;
            } else if row.ignored.len() < MAX_NAMES {
                row.ignored.insert(name, 1);
            } else {
                row.ignores_more = true;
            }
        }
    }

    /// Returns the rows, most frequent first.
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        // The sort is stable, so rows with equal counts stay ordered by route and method.
        rows.sort_by_key(|row| std::cmp::Reverse(row.calls));
        rows
    }

    /// Returns the number of calls with the given verdict.
    pub fn calls(&self, verdict: Verdict) -> u64 {
        let listed: u64 = self.rows.values().filter(|row| row.verdict == verdict).map(|row| row.calls).sum();
        listed + self.unlisted.get(&verdict).copied().unwrap_or_default()
    }

    /// Returns the total number of API calls.
    pub fn total(&self) -> u64 {
        [Verdict::Served, Verdict::Different, Verdict::Absent, Verdict::Failed]
            .into_iter()
            .map(|verdict| self.calls(verdict))
            .sum()
    }

    /// Summarizes the report in a sentence or two.
    pub fn conclusion(&self, reading: &Reading) -> String {
        let (total, different, absent) = (self.total(), self.calls(Verdict::Different), self.calls(Verdict::Absent));
        let failed = self.calls(Verdict::Failed);
        let judged = total - failed;
        let mut text = if total == 0 {
            "No call of Chatwoot's API was found.".to_owned()
        } else if judged == 0 {
            "Chatwoot responded to every call with 404 or a server error, so nothing can be concluded about Parley.".to_owned()
        } else if absent > 0 {
            let routes = self.rows.values().filter(|row| row.verdict == Verdict::Absent).count();
            format!(
                "Parley does not serve {absent} of {judged} calls ({}), of {routes} {}: see what to use instead before you switch.",
                percent(absent, judged),
                if routes == 1 { "route" } else { "routes" },
            )
        } else if different > 0 {
            format!(
                "Parley serves all {judged} calls; {different} of them ({}) with a documented difference: read those before you switch.",
                percent(different, judged)
            )
        } else {
            format!("Parley serves all {judged} calls as Chatwoot does.")
        };
        if total > 0 && !self.has_bodies {
            text.push_str(" The log has no bodies, so differences in body fields are not judged; record a HAR file for those.");
        }
        if reading.ended_early.is_some() {
            text.push_str(" The file was not read completely.");
        }
        text
    }
}

/// Formats a fraction in percent with one decimal. A non-zero part is never shown as 0 %, nor an incomplete one as 100 %.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let tenths = (u128::from(part) * 1000 / u128::from(whole)).clamp(1, 999);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn call(route: &str, ignored: &str) -> Judgement {
        Judgement {
            method: Method::GET,
            route: route.to_owned(),
            verdict: Verdict::Absent,
            has_failed: false,
            ignored: vec![ignored.to_owned()],
            is_refused: false,
            differences: Vec::new(),
            instead: String::new(),
        }
    }

    #[test]
    fn limits_rows_and_names() {
        let mut report = Report::default();
        for number in 0..3 * MAX_ROWS as u64 {
            report.call(number, call(&format!("/api/{number}"), "x"));
        }
        for number in 0..100 {
            report.call(number, call("/api/0", &format!("name{number}")));
        }
        assert_eq!(report.rows().len(), MAX_ROWS);
        assert_eq!(report.calls(Verdict::Absent), 3 * MAX_ROWS as u64 + 100);
        let first = report.rows()[0];
        assert_eq!((first.calls, first.ignored.len(), first.ignores_more), (101, MAX_NAMES, true));
    }

    #[test]
    fn percentages_are_never_rounded_to_all_or_nothing() {
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 5, "0 %"),
            (1, 1_000_000, "0.1 %"),
            (999_999, 1_000_000, "99.9 %"),
            (5, 5, "100 %"),
            (1, 3, "33.3 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }
}
