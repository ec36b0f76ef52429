//! What the repository records of releases.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::checks::runner::Runner;

/// Returns the revision of the last release.
pub fn last_revision(runner: &Runner) -> Result<String> {
    let file = runner.settings.root.join("tests/durability/released");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .next()
        .map(str::to_owned)
        .with_context(|| format!("{} names no revision", file.display()))
}

/// Returns the folder of a recorded release.
pub fn folder(runner: &Runner, revision: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(runner.settings.root.join("tests/releases"))? {
        let folder = entry?.path();
        let recorded = fs::read_to_string(folder.join("revision")).unwrap_or_default();
        if recorded.lines().any(|line| line == revision) {
            return Ok(folder);
        }
    }
    anyhow::bail!("no folder of tests/releases has the revision {revision}")
}
