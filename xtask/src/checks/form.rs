//! Checks of the sources as text: formatting, lints, documentation, spelling, dependencies.

use anyhow::{Result, ensure};

use crate::checks::{cargo, runner::Runner, tools::python::need_source_checkers};

/// Checks formatting and lints.
pub fn check_form(runner: &Runner) -> Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        ensure!(
            runner.probe("cargo", &[command, "--version"]).is_some(),
            "cargo {command} is missing: run 'rustup component add {component}'"
        );
    }
    runner.stage("formatting");
    runner
        .command("cargo")
        .args(["fmt", "--all", "--check"])
        .run_or("the code is not formatted: run 'cargo fmt'")?;
    runner.stage("lint");
    cargo::cargo(runner, "clippy")
        .arg("--all-targets")
        .args(cargo::jobs(runner))
        .args(["--", "-D", "warnings"])
        .run()?;
    // Everything else is compiled with the feature `faults`, which the released program does not have.
    runner.stage("the program as it is released");
    runner
        .command("cargo")
        .args(["check", "--locked", "--package=parley"])
        .args(cargo::jobs(runner))
        .run()
}

/// Builds the documentation of all crates; a broken link is an error.
pub fn check_documentation(runner: &Runner) -> Result<()> {
    runner.stage("documentation");
    cargo::cargo(runner, "doc")
        .env("RUSTDOCFLAGS", "-D warnings")
        .arg("--no-deps")
        .args(cargo::jobs(runner))
        .run()
}

/// Checks the spelling, and the licences, versions and sources of dependencies.
pub fn check_sources(runner: &Runner) -> Result<()> {
    let checkers = need_source_checkers(runner)?;
    let typos = checkers.typos.display();
    runner.stage("spelling");
    runner.command(&checkers.typos).run_or(format!(
        "words are misspelt: run '{typos} --write-changes', or list them in _typos.toml"
    ))?;
    runner.stage("dependencies: licences, bans, sources");
    runner
        .command(&checkers.deny)
        .args(["--locked", "check", "bans", "licenses", "sources"])
        .run_or("dependencies are not what deny.toml allows")
}

/// Checks dependencies for known vulnerabilities. The database is a repository on GitHub; if it cannot be reached, the run reports that and continues.
pub fn check_advisories(runner: &Runner) -> Result<()> {
    let checkers = need_source_checkers(runner)?;
    runner.stage("dependencies: advisories");
    let step = runner.command(&checkers.deny).args(["--locked", "check", "advisories"]);
    let (is_clean, output) = step.shown_output()?;
    if !is_clean {
        ensure!(
            output.contains("failed to fetch advisory database"),
            "an advisory concerns a dependency"
        );
        runner.note("NOT CHECKED: advisories, because the database could not be fetched");
    }
    Ok(())
}
