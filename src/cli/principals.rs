//! `parley account`, `user`, `agent`, `inbox` and `bot`: manage principals and inboxes, over gRPC.

use clap::Subcommand;
use parley_telemetry::escape::escaped;

use super::connect::Target;

mod inboxes;
mod people;

pub(super) use inboxes::{BotCommand, InboxCommand, bot, inbox};
pub(super) use people::{AccountCommand, AgentCommand, UserCommand, account, agent, user};

/// Arguments of a command that manages one kind of resource: the service to connect to, and the operation.
#[derive(Debug, clap::Args)]
pub(super) struct Args<V: Subcommand> {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: V,
}

/// Prints the ID of a created resource to standard output, for scripts, and a description to standard error, for users.
fn print_created(noun: &str, id: i64, name: &str) {
    eprintln!("created {noun} {id}, \"{}\":", escaped(name));
    println!("{id}");
}

/// Shortens the name of an enum value, for example `ROLE_AGENT` to `agent`.
fn enum_label(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}
