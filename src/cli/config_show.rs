//! `parley config show`: the effective settings and their sources.

use clap::Subcommand;

use super::{Exit, Settings, complain, table::Table};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every effective setting with its source; secrets are hidden
    Show(Settings),
}

pub(super) fn run(args: Args) -> Exit {
    let Verb::Show(settings) = args.verb;
    match config::settings(&settings.here()) {
        Ok(found) => {
            let mut table = Table::new("settings", &["SETTING", "VALUE", "SOURCE"]);
            table.rows(found.into_iter().map(|one| vec![one.key, one.value, one.source]).collect());
            table.finish();
            Exit::Ok
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Config
        }
    }
}
