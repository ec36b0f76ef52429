//! Log formats: detects the format of a file and reads the calls in it.

use std::io;

use clap::ValueEnum;

use super::{
    access_log::{self, Line},
    call::Call,
    har,
    input::{Input, MAX_LINE_BYTES, next_line},
    json_lines,
    rails::{self, Rails},
};

/// Format of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Access log of nginx or Apache, common or combined
    Combined,
    /// One JSON object per line: nginx, lograge, Caddy, Traefik
    Json,
    /// Log of Rails in production
    Rails,
    /// Lines of key=value with method, path and status
    Lograge,
    /// Access log of an AWS application load balancer
    Alb,
    /// HAR 1.2, from a browser or a proxy
    Har,
}

impl Format {
    /// Returns the format's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Combined => "combined",
            Self::Json => "json",
            Self::Rails => "rails",
            Self::Lograge => "lograge",
            Self::Alb => "alb",
            Self::Har => "har",
        }
    }

    /// Returns what is counted while a file of this format is read: the entries of a HAR file, or the lines of any other file.
    pub fn unit(self) -> &'static str {
        if self == Self::Har { "entry" } else { "line" }
    }

    /// Detects the format from the beginning of a file: the format that can parse the most lines.
    pub fn detect(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let text = text.trim_start_matches('\u{feff}');
        if is_har(text) {
            return Some(Self::Har);
        }
        let of_lines = [Self::Alb, Self::Json, Self::Combined, Self::Rails, Self::Lograge];
        let counted = of_lines.map(|format| {
            let lines = text.lines().filter(|line| line.len() <= MAX_LINE_BYTES);
            (lines.filter(|line| format.can_parse(line)).count(), format)
        });
        // On a tie, the first format wins.
        let most = counted.iter().map(|(count, _)| *count).max().filter(|count| *count > 0)?;
        counted.into_iter().find(|(count, _)| *count == most).map(|(_, format)| format)
    }

    fn can_parse(self, line: &str) -> bool {
        match self {
            Self::Rails => rails::starts(line),
            Self::Har => false,
            _ => matches!(self.line(line), Ok(Some(_))),
        }
    }

    /// Parses a line of a format in which each line contains a complete call. Returns no call for other formats.
    fn line(self, line: &str) -> Line {
        match self {
            Self::Combined => access_log::combined(line),
            Self::Json => json_lines::json(line),
            Self::Lograge => rails::lograge(line),
            Self::Alb => access_log::load_balancer(line),
            Self::Rails | Self::Har => Ok(None),
        }
    }
}

/// Returns whether the beginning of a file looks like a HAR file: `{"log": {`. The lines of a Docker log do not, because they start with
/// `{"log":"`.
fn is_har(text: &str) -> bool {
    let after = |text: &str, what: &str| text.trim_start().strip_prefix(what).map(str::to_owned);
    after(text, "{")
        .and_then(|text| after(&text, "\"log\""))
        .and_then(|text| after(&text, ":"))
        .is_some_and(|text| text.trim_start().starts_with('{'))
}

/// Maximum number of unreadable lines or entries that are reported individually.
const MAX_REPORTED: usize = 5;

/// Outcome of reading a log file.
#[derive(Debug)]
pub struct Reading {
    pub format: Format,
    /// Number of lines, or in a HAR file of entries, that were read.
    pub units: u64,
    /// Number of calls that were found.
    pub calls: u64,
    /// Number of lines or entries that cannot be read.
    pub unreadable: u64,
    /// The first unreadable lines or entries, each with its number and the reason.
    pub first_unreadable: Vec<(u64, &'static str)>,
    /// The reason why reading ended before the end of the file, if it did.
    pub ended_early: Option<String>,
}

impl Reading {
    fn record_unreadable(&mut self, reason: &'static str) {
        self.unreadable += 1;
        if self.first_unreadable.len() < MAX_REPORTED {
            self.first_unreadable.push((self.units, reason));
        }
    }
}

/// Reads all calls of a source and passes each to `emit` with the number of its line or entry. In a Rails log, that is the line at which
/// the request ends.
pub fn read(input: Input, format: Format, emit: &mut dyn FnMut(u64, Call)) -> Reading {
    let mut reading = Reading {
        format,
        units: 0,
        calls: 0,
        unreadable: 0,
        first_unreadable: Vec::new(),
        ended_early: None,
    };
    if format == Format::Har {
        let mut entries = Entries {
            reading: &mut reading,
            emit,
        };
        if let Err(error) = har::read(without_bom(input), &mut entries) {
            reading.ended_early = Some(json_error(&error));
        }
    } else if let Err(error) = read_lines(input, &mut reading, emit) {
        reading.ended_early = Some(error.to_string());
    }
    reading
}

/// Describes the error that ended reading a HAR file, without quoting the file.
fn json_error(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let position = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Category::Io => error.to_string(),
        Category::Eof => format!("the JSON is truncated at {position}"),
        Category::Syntax => format!("invalid JSON at {position}"),
        Category::Data => format!("not valid HAR 1.2 at {position}"),
    }
}

struct Entries<'a> {
    reading: &'a mut Reading,
    emit: &'a mut dyn FnMut(u64, Call),
}

impl har::Sink for Entries<'_> {
    fn entry(&mut self, entry: Result<Call, &'static str>) {
        self.reading.units += 1;
        match entry {
            Ok(call) => {
                self.reading.calls += 1;
                (self.emit)(self.reading.units, call);
            }
            Err(reason) => self.reading.record_unreadable(reason),
        }
    }
}

/// Skips a leading byte order mark, which JSON does not permit.
fn without_bom(mut input: Input) -> impl io::BufRead {
    if input.head.starts_with(&[0xef, 0xbb, 0xbf]) {
        input.head.drain(..3);
    }
    input.reader()
}

fn read_lines(input: Input, reading: &mut Reading, emit: &mut dyn FnMut(u64, Call)) -> io::Result<()> {
    let mut source = without_bom(input);
    let (mut line, mut is_cut) = (Vec::new(), false);
    let mut rails = Rails::default();
    let ended = loop {
        match next_line(&mut source, &mut line, &mut is_cut) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        reading.units += 1;
        if is_cut {
            reading.record_unreadable("longer than 64 KiB");
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        let units = reading.units;
        if reading.format == Format::Rails {
            let calls = &mut reading.calls;
            let read = rails.line(&text, &mut |call| {
                *calls += 1;
                emit(units, call);
            });
            if let Err(reason) = read {
                reading.record_unreadable(reason);
            }
            continue;
        }
        match reading.format.line(&text) {
            Ok(Some(call)) => {
                reading.calls += 1;
                emit(units, call);
            }
            Ok(None) => {}
            Err(reason) => reading.record_unreadable(reason),
        }
    };
    let units = reading.units;
    rails.finish(&mut |call| {
        reading.calls += 1;
        emit(units, call);
    });
    ended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMBINED: &str = "1.2.3.4 - - [30/Nov/2026:07:46:40 +0000] \"GET /api HTTP/1.1\" 200 1 \"-\" \"x\"\n";

    fn all(text: &[u8], format: Format) -> (Reading, Vec<u64>) {
        let mut positions = Vec::new();
        let input = Input::of(io::Cursor::new(text.to_vec())).expect("it begins");
        let reading = read(input, format, &mut |position, _| positions.push(position));
        (reading, positions)
    }

    #[test]
    fn distinguishes_formats() {
        let alb = "https 2026-11-30T07:46:40Z app/x 1.2.3.4:1 10.0.0.1:2 0 0 0 200 200 0 1 \"GET https://h:443/ HTTP/1.1\" \"x\"\n";
        let started = "[a] Started GET \"/\" for ::1 at x\n[a] Processing\n[a] Completed 200 OK\n";
        for (text, format) in [
            (COMBINED.to_owned(), Some(Format::Combined)),
            (format!("noise\n\n{COMBINED}"), Some(Format::Combined)),
            (alb.to_owned(), Some(Format::Alb)),
            (
                "{\"method\":\"GET\",\"path\":\"/\",\"status\":200}\n".to_owned(),
                Some(Format::Json),
            ),
            (
                "{\"log\":\"x\"}\n{\"log\":\"method=GET path=/ status=200\"}\n".to_owned(),
                Some(Format::Json),
            ),
            (started.to_owned(), Some(Format::Rails)),
            ("method=GET path=/ status=200\n".to_owned(), Some(Format::Lograge)),
            ("\u{feff} {\n \"log\" : {\"version\"".to_owned(), Some(Format::Har)),
            ("nothing of the kind\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Format::detect(text.as_bytes()), format, "{text}");
        }
    }

    #[test]
    fn counts_and_reports_unreadable_lines() {
        let mut text = COMBINED.as_bytes().to_vec();
        text.extend(vec![b'x'; MAX_LINE_BYTES + 1]);
        text.extend(b"\n\xff\xfe\x00\n\n");
        text.extend(COMBINED.as_bytes());
        text.extend(b"broken\n".repeat(9));
        let (reading, positions) = all(&text, Format::Combined);
        assert_eq!((reading.units, reading.calls, reading.unreadable), (14, 2, 11));
        assert_eq!(positions, [1, 5]);
        assert_eq!(reading.first_unreadable.len(), MAX_REPORTED);
        assert_eq!(reading.first_unreadable[0], (2, "longer than 64 KiB"));
        assert!(reading.ended_early.is_none());
    }

    #[test]
    fn reports_where_a_har_ends_without_quoting_it() {
        let text = b"\xef\xbb\xbf{\"log\": {\"entries\": [{\"request\": {\"method\": \"GET\", \"url\": \"/a\"}}, secret";
        let (reading, positions) = all(text, Format::Har);
        assert_eq!((reading.calls, positions), (1, vec![1]));
        let reason = reading.ended_early.expect("it ends early");
        assert!(
            reason.starts_with("invalid JSON at line 1") && !reason.contains("secret"),
            "{reason}"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_input_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Format::detect(&bytes);
            for format in Format::value_variants() {
                if let Ok(input) = Input::of(io::Cursor::new(bytes.clone())) {
                    let reading = read(input, *format, &mut |_, _| {});
                    prop_assert!(reading.calls + reading.unreadable <= reading.units);
                }
            }
        }
    }
}
