//! `parley tail`: prints an account's events as text for a terminal, or as JSON for programs.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use chrono::{DateTime, Local, NaiveDate, Utc};
use parley_client::{Error, Step, Subscriber};
use parley_proto::{
    self as pb, EventDelivery, EventFilter, EventKind, GetLogInfoRequest, events_service_client::EventsServiceClient,
    subscribe_request::Start,
};
use parley_types::cursor_text;
use prost_types::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Exit, connect::Target, print_error};

pub mod line;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// ID of the account
    #[arg(long, default_value_t = 1)]
    account: i64,
    /// Where to start: earliest, latest, a cursor (base64url, base64 or hexadecimal), or a time such as 2026-01-31T00:00:00Z
    #[arg(long, default_value = "latest", value_parser = start, allow_hyphen_values = true)]
    from: Start,
    /// Print only events of this kind, such as message.created; can be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Print only events about this inbox; can be repeated
    #[arg(long = "inbox", value_name = "ID")]
    inboxes: Vec<i64>,
    /// Print only events about this conversation; can be repeated
    #[arg(long = "conversation", value_name = "ID")]
    conversations: Vec<i64>,
    /// Print one JSON object per line, with every field
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let resume = resume_command(&args);
    let filter = EventFilter {
        kinds: args.kinds.into_iter().map(i32::from).collect(),
        inbox_ids: args.inboxes,
        conversation_ids: args.conversations,
        ..EventFilter::default()
    };
    // Give up only if the first call fails: if the address, TLS or the token is wrong, retrying does not help. A connection that is lost
    // later is resumed.
    let request = GetLogInfoRequest { account_id: args.account };
    let first = EventsServiceClient::new(server.channel())
        .get_log_info(server.request(request))
        .await;
    if let Err(status) = first
        && !is_transient(&status)
    {
        return args.target.explain(&status).await;
    }
    let mut subscriber = Subscriber::new(server, args.account, Some(args.from), filter);
    let mut printer = Printer::new(args.json);
    let mut resuming = false;
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        print_error("failed to install signal handlers");
        return Exit::Internal;
    };
    loop {
        let next = tokio::select! {
            next = subscriber.next() => next,
            _ = interrupt.recv() => return print_resume_command(&subscriber, &resume),
            _ = terminate.recv() => return print_resume_command(&subscriber, &resume),
        };
        match next {
            Ok(Step::Response(response)) => {
                if std::mem::take(&mut resuming) {
                    eprintln!("parley: reconnected");
                }
                if printer.print(&response.events).is_err() {
                    // A closed pipe is not an error: the reader has exited, as `head` does.
                    return Exit::Ok;
                }
            }
            Ok(Step::Resuming { reason, pause }) => {
                resuming = true;
                print_error(&format!(
                    "{}; reconnecting in {:.1} s",
                    readable_reason(&reason),
                    pause.as_secs_f64()
                ));
            }
            Err(Error::Refused(status)) => {
                let exit = args.target.explain(&status).await;
                print_resume_command(&subscriber, &resume);
                return exit;
            }
            Err(error) => {
                print_error(&error.to_string());
                print_resume_command(&subscriber, &resume);
                return Exit::Failure;
            }
        }
    }
}

/// Prints events and, in text format, the date whenever it changes.
struct Printer {
    as_json: bool,
    is_coloured: bool,
    day: Option<NaiveDate>,
}

impl Printer {
    fn new(as_json: bool) -> Self {
        Self {
            as_json,
            is_coloured: is_coloured(),
            day: None,
        }
    }

    fn print(&mut self, events: &[EventDelivery]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for delivery in events {
            if self.as_json {
                writeln!(out, "{}", pb::json::delivery(delivery))?;
                continue;
            }
            let day = line::day(delivery, &Local);
            if day.is_some() && day != self.day {
                self.day = day;
                writeln!(out, "{}", day.unwrap_or_default().format("--- %Y-%m-%d ---"))?;
            }
            writeln!(out, "{}", line::delivery(delivery, &Local, self.is_coloured))?;
        }
        out.flush()
    }
}

/// Returns whether the failure is temporary because the service is starting, stopping or busy.
fn is_transient(status: &Status) -> bool {
    status.get_details_error_info().is_some()
        && matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}

/// Rewords the reason for a lost stream for users: the service's own message is for programs and mentions cursors and trailers.
fn readable_reason(reason: &str) -> &str {
    match reason {
        _ if reason.starts_with("the stream ends here") => "the server is shutting down, or the stream reached its maximum age",
        "transport error" => "the connection to the server was lost",
        _ => reason,
    }
}

/// Returns a command line that resumes this command, without `--from`. It does not contain the token, which stays in the environment.
fn resume_command(args: &Args) -> String {
    // Writing to a `String` cannot fail.
    let mut command = format!("parley tail --server {} --account {}", args.target.url(), args.account);
    for kind in &args.kinds {
        let _ = write!(
            command,
            " --kind {}",
            kind.as_str_name().trim_start_matches("EVENT_KIND_").to_lowercase()
        );
    }
    for inbox in &args.inboxes {
        let _ = write!(command, " --inbox {inbox}");
    }
    for conversation in &args.conversations {
        let _ = write!(command, " --conversation {conversation}");
    }
    if args.json {
        command += " --json";
    }
    command
}

/// Prints how to resume after the last printed event.
fn print_resume_command(subscriber: &Subscriber, resume: &str) -> Exit {
    if let Some(cursor) = subscriber.cursor() {
        print_error(&format!("continue with: {resume} --from {}", cursor_text::encode(cursor)));
    }
    Exit::Ok
}

/// Returns whether to use color: only in a terminal, and only if `NO_COLOR` is not set (<https://no-color.org>).
fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest(())),
        "latest" => return Ok(Start::Latest(())),
        _ => {}
    }
    if let Ok(time) = text.parse::<DateTime<Utc>>() {
        return Ok(Start::At(Timestamp {
            seconds: time.timestamp(),
            nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
        }));
    }
    cursor_text::decode(text)
        .map(Start::After)
        .ok_or_else(|| "must be earliest, latest, a cursor, or a time such as 2026-01-31T00:00:00Z".to_owned())
}

/// Parses a kind of event, such as `message.created`. The name of the enum value without its prefix (`MESSAGE_CREATED`) is also accepted.
fn kind(text: &str) -> Result<EventKind, String> {
    let name = format!("EVENT_KIND_{}", text.replace('.', "_").to_uppercase());
    EventKind::from_str_name(&name)
        .filter(|kind| *kind != EventKind::Unspecified)
        .ok_or_else(|| "must be a kind of event, such as message.created".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_start_position() {
        assert_eq!(start("earliest").unwrap(), Start::Earliest(()));
        assert_eq!(start("latest").unwrap(), Start::Latest(()));
        assert_eq!(start("0a0b").unwrap(), Start::After(vec![10, 11].into()));
        let time = start("1970-01-01T01:00:01.5+01:00").unwrap();
        assert_eq!(
            time,
            Start::At(Timestamp {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        assert_eq!(start("Cgs").unwrap(), Start::After(vec![10, 11].into()));
        for bad in ["", "yesterday!", "0a0"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parses_event_kinds_by_name() {
        assert_eq!(kind("message.created").unwrap(), EventKind::MessageCreated);
        assert_eq!(kind("conversation.status_changed").unwrap(), EventKind::ConversationStatusChanged);
        assert_eq!(kind("first.reply.created").unwrap(), EventKind::FirstReplyCreated);
        assert!(kind("message.exploded").is_err());
        assert!(kind("unspecified").is_err());
    }
}
