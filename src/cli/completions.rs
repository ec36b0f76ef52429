//! `parley completions`: shell completion scripts.

use std::io::Write as _;

use clap_complete::Shell;

use super::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completion script of `command`, the whole command line, to standard output.
///
/// Shells load it for example with `source <(parley completions bash)`.
pub(super) fn run(args: &Args, command: &mut clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "parley", &mut script);
    // A closed pipe is not an error: the reader has exited, as `head` does.
    let _ = std::io::stdout().write_all(&script);
    Exit::Ok
}
