//! `parley completions`: prints shell completion scripts.

use std::io::Write as _;

use clap_complete::Shell;

use super::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shell for which to print the script
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a shell completion script for `command`, which describes the whole command line, to standard output.
///
/// A shell loads the script with, for example, `source <(parley completions bash)`.
pub(super) fn run(args: &Args, command: &mut clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "parley", &mut script);
    // A closed pipe is not an error: the reader has exited, as `head` does.
    let _ = std::io::stdout().write_all(&script);
    Exit::Ok
}
