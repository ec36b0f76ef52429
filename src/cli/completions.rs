//! `parley completions`: what shells need to complete the command line.

use std::io::Write as _;

use clap_complete::Shell;

use super::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a script for `command`, the whole command line, on standard output, such as for `source <(parley completions bash)`.
pub(super) fn run(args: &Args, command: &mut clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "parley", &mut script);
    // Whoever read the output has left, as `head` does.
    let _ = std::io::stdout().write_all(&script);
    Exit::Ok
}
