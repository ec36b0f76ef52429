//! Long-running checks: fuzzing, the siege, and the length of uninterrupted work.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::checks::{
    cargo,
    runner::{Runner, Step},
};

/// Feeds each parser of untrusted input with mutations of its corpus for some seconds, under a memory limit.
pub fn check_fuzz(runner: &Runner, seconds: u64) -> Result<()> {
    runner.stage(format!("fuzz targets, {seconds} seconds, all at once"));
    cargo::test(runner)
        .env("PARLEY_FUZZ_SECONDS", seconds.to_string())
        .args(["--test", "fuzz"])
        .run()
}

/// Calls every route with more generated requests than the behaviour tests do.
pub fn check_generated_requests(runner: &Runner) -> Result<()> {
    runner.stage("generated requests");
    cargo::test(runner)
        .env("PARLEY_FUZZ_ROUNDS", "400")
        .args(["--test", "it", "--", "generated_requests"])
        .run()
}

/// Runs every attack of a caller without credentials against the program of the image with 512 MiB, for about that many seconds, while other clients are
/// served.
pub fn check_siege(runner: &Runner, seconds: u64) -> Result<()> {
    runner.stage(format!("siege, about {seconds} seconds"));
    runner
        .command("cargo")
        .args(["build", "--locked", "--profile", "dist", "--package", "parley"])
        .args(cargo::jobs(runner))
        .run()?;
    let program = runner.settings.target.join("dist/parley");
    // grep counts matching lines, and fails if it cannot read the file.
    let (_, count) = runner
        .command("grep")
        .args(["-c", "longest slice of work"])
        .arg(&program)
        .output()?;
    ensure!(
        runner.settings.is_plan || count.trim() == "0",
        "the program of the image contains the fault switches"
    );
    // Clients and attackers are optimised too, because they share the processors with the server.
    measuring_test(runner)
        .env("PARLEY_SIEGE_BINARY", program)
        .env("PARLEY_SIEGE_SECONDS", seconds.to_string())
        .arg("siege_")
        .run()
}

/// Measures the longest uninterrupted slice of work, with an optimised build that has the fault switches.
pub fn check_slices(runner: &Runner) -> Result<()> {
    runner.stage("slices of work");
    let folder = measuring(runner);
    cargo::cargo(runner, "build")
        .args(["--profile", "dist", "--target-dir"])
        .arg(&folder)
        .args(cargo::jobs(runner))
        .run()?;
    measuring_test(runner)
        .env("PARLEY_SLICES_BINARY", folder.join("dist/parley"))
        .arg("slices_of_work")
        .run()
}

/// Returns the target directory of optimised builds with the fault switches of the tests, kept apart from real builds.
fn measuring(runner: &Runner) -> PathBuf {
    runner.settings.root.join("target/measuring")
}

fn measuring_test(runner: &Runner) -> Step<'_> {
    cargo::test(runner)
        .args(["--profile", "dist", "--target-dir"])
        .arg(measuring(runner))
        .args(["--test", "durability", "--", "--ignored", "--nocapture"])
}
