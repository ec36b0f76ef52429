//! `parley compat`: analyzes how Parley would serve recorded Chatwoot traffic. It reads a log or a HAR file and requires neither a server
//! nor a database. It prints routes and counts, but no IDs, values or bodies.

mod access_log;
mod call;
mod coverage;
mod differences;
mod format;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod har;
mod input;
mod json_lines;
mod judge;
mod lenient;
mod non_api;
mod page;
mod print;
mod rails;
mod report;

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Exit, print_error};
use format::{Format, Reading, read};
use input::Input;
use judge::{Judge, Verdict};
use print::Printer;
use report::Report;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An access log or a HAR file, optionally compressed with gzip; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Format of the file; detected from its beginning by default
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Path under which Chatwoot is served, such as /chat; calls outside it are not analyzed
    #[arg(long, value_name = "PATH", default_value = "")]
    strip_prefix: String,
    /// Host of Chatwoot; calls that the file records for other hosts are not analyzed
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show only routes with this verdict
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Which calls cause exit code 3: absent, those that are not served; different, also those that are served differently; never, none
    #[arg(long, value_enum, default_value = "absent")]
    fail_on: FailOn,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    Absent,
    Different,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    Absent,
    Different,
    Never,
}

impl From<Only> for Verdict {
    fn from(only: Only) -> Self {
        match only {
            Only::Absent => Self::Absent,
            Only::Different => Self::Different,
        }
    }
}

/// Reads the log or HAR file, prints the report and returns the exit code.
pub(super) fn run(args: &Args) -> Exit {
    let file = args.file.display();
    let input = match Input::open(&args.file) {
        Ok(input) => input,
        Err(error) => {
            print_error(&format!("{file}: {error}"));
            return Exit::Input;
        }
    };
    let Some(format) = args.format.or_else(|| Format::detect(&input.head)) else {
        print_error(&format!("{file}: the format could not be detected: set it with --format"));
        return Exit::Input;
    };
    let judge = Judge::new(&args.strip_prefix, args.host.as_deref().and_then(call::host_of));
    let mut report = Report::default();
    let reading = read(input, format, &mut |position, call| {
        report.has_bodies |= call.body.is_some();
        match judge.judge(call) {
            Ok(call) => report.call(position, call),
            Err(other) => report.other(other),
        }
    });
    report_unreadable(&reading);
    if reading.calls == 0 {
        print_error(&format!(
            "{file}: no call could be read in the format {}: try another --format",
            format.name()
        ));
        return Exit::Input;
    }
    let printer = Printer {
        report: &report,
        reading: &reading,
        differences: &judge.differences,
        only: args.only.map(Verdict::from),
    };
    if args.json {
        printer.json();
    } else {
        printer.table();
    }
    exit(args.fail_on, &report, reading.ended_early.is_some())
}

/// Reports unreadable input on standard error, without quoting it.
fn report_unreadable(reading: &Reading) {
    let unit = reading.format.unit();
    for (at, reason) in &reading.first_unreadable {
        print_error(&format!("{unit} {at} cannot be read: {reason}"));
    }
    if reading.unreadable > 0 {
        print_error(&format!(
            "{} of {} could not be read (counted per {unit})",
            reading.unreadable, reading.units
        ));
    }
    if let Some(reason) = &reading.ended_early {
        print_error(&format!("reading ended early, after {unit} {}: {reason}", reading.units));
    }
}

/// Determines the exit code. A file that was not read completely is a failure, unless `--fail-on never` is set.
fn exit(fail_on: FailOn, report: &Report, is_cut: bool) -> Exit {
    let is_absent = report.calls(Verdict::Absent) > 0;
    let is_different = report.calls(Verdict::Different) > 0;
    let fails = match fail_on {
        FailOn::Absent => is_absent,
        FailOn::Different => is_absent || is_different,
        FailOn::Never => false,
    };
    match fail_on {
        _ if fails => Exit::Incompatible,
        FailOn::Absent | FailOn::Different if is_cut => Exit::Input,
        _ => Exit::Ok,
    }
}
