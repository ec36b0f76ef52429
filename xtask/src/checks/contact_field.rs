//! A check that a contact field can still be added in a few places: `tests/fixtures/contact_field.patch` adds one.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::checks::{cargo, runner::Runner};

const PATCH: &str = "tests/fixtures/contact_field.patch";

/// The largest number of source files that the patch may touch, without tests and documentation.
const LIMIT: usize = 6;

/// Applies the patch to a copy of the repository, and compiles it.
pub fn check_contact_field(runner: &Runner) -> Result<()> {
    runner.stage("adding a field to contacts");
    let numbers = runner.probe("git", &["apply", "--numstat", PATCH]).unwrap_or_default();
    let touched: Vec<&str> = numbers
        .lines()
        .filter_map(|line| line.split('\t').nth(2))
        .filter(|path| is_source(path))
        .collect();
    ensure!(
        touched.len() <= LIMIT,
        "{PATCH} touches more than {LIMIT} source files: {}",
        touched.join(" ")
    );
    let copy = runner.settings.root.join("target/contact_field");
    if !runner.settings.is_plan {
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        fs::create_dir_all(&copy)?;
    }
    // With new timestamps (-m), as in the build of another revision.
    runner
        .command("sh")
        .args(["-c", "git ls-files -z | tar -c --null -T - | tar -x -m -C \"$1\"", "sh"])
        .arg(&copy)
        .run()?;
    runner
        .command("git")
        .args(["apply", "--directory", "target/contact_field", PATCH])
        .run_or(format!(
            "{PATCH} does not apply: make the change again, as CONTRIBUTING.md describes it"
        ))?;
    let message = format!("the sources do not compile with {PATCH}");
    // In the same target directory and with the same flags, so that only the crates of the workspace are compiled.
    let target = &runner.settings.target;
    let build = |command| {
        cargo::cargo(runner, command)
            .folder(&copy)
            .env("CARGO_TARGET_DIR", target)
            .args(cargo::jobs(runner))
    };
    build("build").args(["--bin", "xtask"]).run_or(&message)?;
    runner
        .command(target.join("debug/xtask"))
        .folder(&copy)
        .arg("descriptors")
        .run_or(&message)?;
    build("check").run_or(&message)
}

fn is_source(path: &str) -> bool {
    let is_page = Path::new(path).extension().is_some_and(|extension| extension == "md");
    !(path.starts_with("tests/") || path.starts_with("docs/") || is_page)
}
