//! Prints the report as text or JSON. `docs/switching.md` documents the JSON format.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write as _},
};

use serde_json::{Map, Value as Json, json};

use super::{
    differences::{Applies, Difference, Differences},
    format::Reading,
    judge::Verdict,
    report::{Report, Row, percent},
};
use crate::cli::table::Table;

/// Version of the JSON format. It is incremented for incompatible changes, but not for added keys.
const FORMAT_VERSION: u32 = 1;

/// Everything that is needed to print a report.
#[derive(Debug)]
pub struct Printer<'a> {
    pub report: &'a Report,
    /// The outcome of reading the log or HAR file.
    pub reading: &'a Reading,
    /// The descriptions of the differences, to which the report refers by index.
    pub differences: &'a Differences,
    /// The only verdict whose rows are printed. If `None`, all rows are printed.
    pub only: Option<Verdict>,
}

impl Printer<'_> {
    fn rows(&self) -> Vec<&Row> {
        let rows = self.report.rows().into_iter();
        rows.filter(|row| self.only.is_none_or(|only| row.verdict == only)).collect()
    }

    /// Returns the differences that affect the calls of a row, without those that only might affect them.
    fn printed_differences(&self, row: &Row) -> impl Iterator<Item = &Difference> {
        let all = row.differences.iter().map(|index| self.differences.get(*index));
        all.filter(|one| one.applies != Applies::Sometimes)
    }

    /// Prints the report as text: the table, the totals, the differences and the conclusion.
    pub fn table(&self) {
        let rows = self.rows();
        let mut table = Table::new("calls of the API", &["METHOD", "ROUTE", "CALLS", "VERDICT", "NOTE"]);
        table.rows(
            rows.iter()
                .map(|row| {
                    vec![
                        row.method.clone(),
                        row.route.clone(),
                        row.calls.to_string(),
                        row.verdict.name().to_owned(),
                        self.note(row),
                    ]
                })
                .collect(),
        );
        table.finish();
        write_out(&self.summary(&rows));
    }

    /// Returns the text below the table: the totals, the differences and the conclusion.
    fn summary(&self, rows: &[&Row]) -> String {
        let total = self.report.total();
        let mut text = format!("\n{:<12}{total:>10}\n", "calls");
        for verdict in [Verdict::Served, Verdict::Different, Verdict::Absent, Verdict::Failed] {
            let calls = self.report.calls(verdict);
            let _ = writeln!(text, "{:<12}{calls:>10}  {}", verdict.name(), percent(calls, total));
        }
        for (other, count) in &self.report.others {
            let _ = writeln!(text, "{:<12}{count:>10}  {}", "not judged", other.name());
        }
        self.describe_differences(&mut text, rows);
        let _ = writeln!(text, "\n{}", self.report.conclusion(self.reading));
        text
    }

    fn note(&self, row: &Row) -> String {
        let mut notes: Vec<String> = Vec::new();
        if row.verdict == Verdict::Absent || row.verdict == Verdict::Failed {
            if row.instead.is_empty() {
                notes.push(format!(
                    "not a documented route of Chatwoot; first in {} {}",
                    self.reading.format.unit(),
                    row.first
                ));
            } else {
                notes.push(format!("use instead: {}", row.instead));
            }
        }
        if row.verdict == Verdict::Failed {
            notes.push("404 or a server error in Chatwoot too".to_owned());
        } else if row.failed > 0 {
            notes.push(format!("{} with 404 or a server error in Chatwoot", row.failed));
        }
        notes.extend(self.printed_differences(row).map(|one| one.matter.clone()));
        if !row.ignored.is_empty() {
            let names: Vec<String> = row.ignored.iter().map(|(name, calls)| format!("{name} ({calls})")).collect();
            let more = if row.ignores_more { ", and others" } else { "" };
            notes.push(format!("ignored: {}{more}", names.join(", ")));
        }
        if row.refused > 0 {
            notes.push(format!(
                "{} rejected with 422: the body contains nothing that can be changed",
                row.refused
            ));
        }
        notes.join("; ")
    }

    /// Appends a description of each difference that affects the rows, without repetitions.
    fn describe_differences(&self, text: &mut String, rows: &[&Row]) {
        let indexes: BTreeSet<usize> = rows.iter().flat_map(|row| row.differences.iter().copied()).collect();
        let (printed_differences, conditional): (Vec<_>, Vec<_>) = indexes
            .into_iter()
            .map(|index| self.differences.get(index))
            .partition(|one| one.applies != Applies::Sometimes);
        if !printed_differences.is_empty() {
            text.push_str("\nDifferences:\n");
        }
        for one in printed_differences {
            let _ = writeln!(
                text,
                "  {}\n      Chatwoot: {}\n      Parley:   {}",
                one.matter, one.chatwoot, one.parley
            );
        }
        if !conditional.is_empty() {
            let _ = writeln!(
                text,
                "\n{} more differences of these routes concern invalid input, limits and rare states: --json lists them.",
                conditional.len()
            );
        }
    }

    /// Prints the report as JSON.
    pub fn json(&self) {
        write_out(&format!("{:#}\n", self.as_json()));
    }

    fn as_json(&self) -> Json {
        let (report, reading) = (self.report, self.reading);
        let count = |verdict| report.calls(verdict);
        let others: Map<String, Json> = report
            .others
            .iter()
            .map(|(other, count)| (other.key().to_owned(), json!(count)))
            .collect();
        let first: Vec<Json> = reading
            .first_unreadable
            .iter()
            .map(|(at, reason)| json!({ "at": at, "reason": reason }))
            .collect();
        json!({
            "version": FORMAT_VERSION,
            "input": {
                "format": reading.format.name(),
                "unit": reading.format.unit(),
                "read": reading.units,
                "calls": reading.calls,
                "unreadable": reading.unreadable,
                "first_unreadable": first,
                "complete": reading.ended_early.is_none(),
                "bodies": report.has_bodies,
            },
            "totals": {
                "calls": report.total(),
                "served": count(Verdict::Served),
                "different": count(Verdict::Different),
                "absent": count(Verdict::Absent),
                "failed": count(Verdict::Failed),
            },
            "not_api": others,
            "routes_cut": !report.unlisted.is_empty(),
            "routes": self.rows().into_iter().map(|row| self.row(row)).collect::<Vec<_>>(),
            "conclusion": report.conclusion(reading),
        })
    }

    fn row(&self, row: &Row) -> Json {
        let differences: Vec<Json> = row
            .differences
            .iter()
            .map(|index| self.differences.get(*index))
            .map(|one| {
                json!({
                    "matter": one.matter,
                    "chatwoot": one.chatwoot,
                    "parley": one.parley,
                    "applies": one.applies.name(),
                })
            })
            .collect();
        let ignored: Vec<Json> = row
            .ignored
            .iter()
            .map(|(name, calls)| json!({ "name": name, "calls": calls }))
            .collect();
        json!({
            "method": row.method,
            "route": row.route,
            "verdict": row.verdict.name(),
            "calls": row.calls,
            "failed_calls": row.failed,
            "refused_calls": row.refused,
            "first_at": row.first,
            "ignored": ignored,
            "ignored_cut": row.ignores_more,
            "differences": differences,
            "instead": if row.instead.is_empty() { Json::Null } else { json!(row.instead) },
        })
    }
}

/// Writes to standard output. Errors are ignored, because the reader might have closed the pipe, as `head` does. Errors of the `writeln!`
/// calls in this module are ignored because writing to a `String` cannot fail.
fn write_out(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
