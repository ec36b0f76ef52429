//! `parley account`, `user`, `agent`, `inbox` and `bot`: who and what tokens are made for, over gRPC.

use clap::Subcommand;
use parley_telemetry::escape::escaped;

use super::connect::Target;

mod inboxes;
mod people;

pub(super) use inboxes::{BotVerb, InboxVerb, bot, inbox};
pub(super) use people::{AccountVerb, AgentVerb, UserVerb, account, agent, user};

/// A noun with its verbs.
#[derive(Debug, clap::Args)]
pub(super) struct Args<V: Subcommand> {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: V,
}

/// The id on standard output, so that a script can take it; what it is of, beside it, for people.
fn created(noun: &str, id: i64, name: &str) {
    eprintln!("{noun} {id}, \"{}\", is created:", escaped(name));
    println!("{id}");
}

/// `ROLE_AGENT` as `agent`.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}
