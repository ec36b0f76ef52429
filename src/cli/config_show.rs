//! `parley config show`: prints the effective settings and their sources.

use clap::Subcommand;

use super::{Exit, Settings, print_error, table::Table};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every effective setting with its source; secrets are hidden
    Show(Settings),
}

pub(super) fn run(args: Args) -> Exit {
    let ConfigCommand::Show(settings) = args.command;
    match config::settings(&settings.with_environment()) {
        Ok(found) => {
            let mut table = Table::new("settings", &["SETTING", "VALUE", "SOURCE"]);
            table.rows(found.into_iter().map(|one| vec![one.key, one.value, one.source]).collect());
            table.finish();
            Exit::Ok
        }
        Err(error) => {
            print_error(&error.to_string());
            Exit::Config
        }
    }
}
