//! `parley compat`: what would become of somebody's traffic with Chatwoot. It reads a log or a HAR file, and needs neither a server nor a
//! database. What it prints are routes and counts: no ids, no values, no bodies.

mod call;
mod coverage;
mod differences;
mod format;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod har;
mod input;
mod judge;
mod lenient;
mod object;
mod other;
mod page;
mod print;
mod quoted;
mod report;
mod words;

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Exit, complain};
use format::{Format, Reading, read};
use input::Input;
use judge::{Judge, Verdict};
use print::Printed;
use report::Report;

/// The command line of `parley compat`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An access log or a HAR file, packed by gzip or not. - is the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format of the file; detected from its beginning unless it is given
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The path under which Chatwoot is served, such as /chat; calls outside of it are not judged
    #[arg(long, value_name = "PATH", default_value = "")]
    strip_prefix: String,
    /// The host of Chatwoot; calls to others are not judged, where the file says the host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show the routes with this verdict alone
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// When to end with exit code 3: something is not served, or not served as Chatwoot does, or never
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

/// Reads the file and prints the report.
pub(super) fn run(args: &Args) -> Exit {
    let shown = args.file.display();
    let input = match Input::open(&args.file) {
        Ok(input) => input,
        Err(error) => {
            complain(&format!("{shown}: {error}"));
            return Exit::Input;
        }
    };
    let Some(format) = args.format.or_else(|| Format::detect(&input.head)) else {
        complain(&format!(
            "{shown}: no line at its beginning is a call in a known format: name the format with --format"
        ));
        return Exit::Input;
    };
    let judge = Judge::new(&args.strip_prefix, args.host.as_deref().and_then(call::host_of));
    let mut report = Report::default();
    let reading = read(input, format, &mut |place, call| {
        report.has_bodies |= call.body.is_some();
        match judge.judge(call) {
            Ok(call) => report.call(place, call),
            Err(other) => report.other(other),
        }
    });
    remark(&reading);
    if reading.calls == 0 {
        complain(&format!(
            "{shown}: nothing in it could be read as {}: try another --format",
            format.name()
        ));
        return Exit::Input;
    }
    let printed = Printed {
        report: &report,
        reading: &reading,
        differences: &judge.differences,
        only: args.only.map(Verdict::from),
    };
    if args.json {
        printed.json();
    } else {
        printed.table();
    }
    exit(args.fail_on, &report, reading.ended_early.is_some())
}

/// Reports what was not read, on standard error, without quoting it.
fn remark(reading: &Reading) {
    let unit = reading.format.unit();
    for (at, reason) in &reading.first_unreadable {
        complain(&format!("{unit} {at} cannot be read: {reason}"));
    }
    if reading.unreadable > 0 {
        complain(&format!(
            "{} could not be read, of {} in all (each {unit} counts)",
            reading.unreadable, reading.units
        ));
    }
    if let Some(reason) = &reading.ended_early {
        complain(&format!("reading ended early, after {} {unit}: {reason}", reading.units));
    }
}

/// A file of which a part was judged does not pass, unless nothing is to fail.
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
