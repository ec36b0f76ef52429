//! Cargo, with the flags that all checks share.

use anyhow::Result;

use crate::checks::runner::{Runner, Step};

/// Always the same features, so that everything is compiled only once.
pub const FLAGS: [&str; 4] = ["--workspace", "--locked", "--features", "faults"];

/// Published crates: the client and its dependencies.
pub const PUBLISHED: [&str; 5] = ["types", "fault", "telemetry", "proto", "client"];

/// Returns `cargo COMMAND` with the shared flags.
pub fn cargo<'a>(runner: &'a Runner, command: &str) -> Step<'a> {
    runner.command("cargo").arg(command).args(FLAGS)
}

/// Returns `-j N` with the number of parallel compilers.
pub fn jobs(runner: &Runner) -> [String; 2] {
    ["-j".to_owned(), runner.settings.jobs.to_string()]
}

/// Returns `cargo test` with the shared flags.
pub fn test(runner: &Runner) -> Step<'_> {
    cargo(runner, "test").args(jobs(runner))
}

/// Compiles the program, with the same flags as for the tests: `cargo test` also builds it.
pub fn build_program(runner: &Runner) -> Result<()> {
    test(runner).args(["--no-run", "--test", "it"]).run()
}
