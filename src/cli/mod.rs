//! The command line: subcommands and exit codes. Client commands use the public gRPC API, like any other caller.

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};

mod allocator;
mod backup;
mod call_error;
mod compat;
mod completions;
mod config_show;
mod connect;
mod consumers;
mod doctor;
pub mod exit;
mod healthcheck;
mod hint;
mod initial_token;
mod principals;
mod probe;
mod serve;
mod settings;
mod stderr;
mod table;
pub mod tail;
mod token;
mod welcome;

#[cfg(feature = "faults")]
#[doc(hidden)]
pub use compat::fuzz as compat_fuzz;
pub use exit::Exit;
pub use welcome::welcome;

use settings::Settings;
use stderr::print_error;

/// Customer conversations as a gRPC service, with a durable, ordered, resumable event stream.
#[derive(Debug, Parser)]
#[command(name = "parley", version = env!("BUILD_VERSION"), args_conflicts_with_subcommands = true, after_help = exit::help())]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default)
    Serve(Settings),
    /// Migrate the database to this version and exit
    Migrate(Settings),
    /// Record that the database was restored from a backup, so that cursors issued earlier are rejected. The service must be stopped
    Restored(Settings),
    /// Write the database and its files to an archive; the service can keep running
    Backup(backup::BackupArgs),
    /// Restore an archive into an empty database and start a new epoch for every log. The service must be stopped
    Restore(backup::RestoreArgs),
    /// Print the administrator's token that the server generated and stored at its first start, and remove its file
    InitialToken(Settings),
    /// Replace the key that signs file links, so that links issued earlier become invalid. The service must be stopped
    RotateLinkKey(Settings),
    /// Create, list and revoke tokens of a running service
    Token(token::Args),
    /// Create and list accounts
    Account(principals::Args<principals::AccountCommand>),
    /// Create users and add them to accounts
    User(principals::Args<principals::UserCommand>),
    /// Add and list members of an account
    Agent(principals::Args<principals::AgentCommand>),
    /// Create and list API inboxes
    Inbox(principals::Args<principals::InboxCommand>),
    /// Create, list and connect agent bots
    Bot(principals::Args<principals::BotCommand>),
    /// List, reset and delete durable consumers of a running service
    Consumers(consumers::Args),
    /// Check whether a service is ready; exit code 0 or 1
    Healthcheck(healthcheck::Args),
    /// Diagnose problems with the configuration and the environment; exit code 0 or 1
    Doctor(Settings),
    /// Show the configuration
    Config(config_show::Args),
    /// Analyze a Chatwoot log or HAR file: which calls Parley serves, which behave differently, and which are not served
    Compat(compat::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Follow the events of an account
    Tail(tail::Args),
}

/// Time limit for blocking threads to finish after a command has ended.
const UNBLOCK: Duration = Duration::from_secs(5);

/// Parses the command line, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, None | Some(Command::Serve(_))) {
        allocator::bound_purges();
    }
    // Restrict everything that a command creates (the database and its journal, locks, uploads in progress, cursors) to its owner, whatever
    // umask the shell or the container runtime has set.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &format!("failed to start the runtime: {error}")),
    };
    let exit = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.settings)) {
            Command::Serve(settings) => ended(Box::pin(serve::serve(settings)).await),
            Command::Migrate(settings) => ended(serve::migrate(settings).await),
            Command::Restored(settings) => ended(serve::restored(settings).await),
            Command::Backup(args) => ended(Box::pin(backup::backup(args)).await),
            Command::Restore(args) => ended(Box::pin(backup::restore(args)).await),
            Command::InitialToken(settings) => initial_token::run(settings).await,
            Command::RotateLinkKey(settings) => ended(serve::rotate_link_key(settings).await),
            Command::Token(args) => Box::pin(token::run(args)).await,
            Command::Account(args) => Box::pin(principals::account(args)).await,
            Command::User(args) => Box::pin(principals::user(args)).await,
            Command::Agent(args) => Box::pin(principals::agent(args)).await,
            Command::Inbox(args) => Box::pin(principals::inbox(args)).await,
            Command::Bot(args) => Box::pin(principals::bot(args)).await,
            Command::Config(args) => config_show::run(args),
            Command::Compat(args) => compat::run(&args),
            Command::Completions(args) => completions::run(&args, &mut Cli::command()),
            Command::Consumers(args) => consumers::run(args).await,
            Command::Healthcheck(args) => healthcheck::run(args).await,
            Command::Doctor(settings) => doctor::run(settings).await,
            Command::Tail(args) => Box::pin(tail::run(args)).await,
        }
    });
    // Limit the wait: a thread that reads from a pipe that is never closed ends only with the process.
    runtime.shutdown_timeout(UNBLOCK);
    exit.into()
}

fn ended(result: anyhow::Result<()>) -> Exit {
    result.map_or_else(
        |error| {
            let (exit, message) = exit::explain(&error);
            print_error(&message);
            exit
        },
        |()| Exit::Ok,
    )
}

fn fail(exit: Exit, message: &str) -> ExitCode {
    print_error(message);
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_without_a_command_apply_to_serve() {
        let cli = Cli::try_parse_from(["parley", "--grpc-addr", "127.0.0.1:1", "--set", "writer.shards=3"]).unwrap();
        assert!(cli.command.is_none());
        let config = Config::load(&cli.settings.sources(Vec::new())).unwrap();
        assert_eq!((config.grpc.addr.as_str(), config.writer.shards), ("127.0.0.1:1", 3));
    }

    #[test]
    fn reports_an_invalid_flag() {
        let cli = Cli::try_parse_from(["parley", "serve", "--http-addr", "nowhere"]).unwrap();
        let Some(Command::Serve(settings)) = cli.command else {
            panic!("serve")
        };
        let error = Config::load(&settings.sources(Vec::new())).unwrap_err().to_string();
        assert!(error.starts_with("flag --http-addr: `http.addr` must be `host:port`"), "{error}");
    }
}
