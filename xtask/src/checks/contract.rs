//! Checks of the contract in `proto/`.

use anyhow::Result;

use crate::checks::{releases, runner::Runner, tools::node::need_buf};

/// Checks lint and formatting, and that the contract breaks no client of the last release.
pub fn check_contract(runner: &Runner) -> Result<()> {
    let buf = need_buf(runner)?;
    runner.stage("contract");
    runner.command(&buf).arg("lint").run()?;
    runner
        .command(&buf)
        .args(["format", "--diff", "--exit-code"])
        .run_or(format!("the contract is not formatted: run '{} format -w'", buf.display()))?;
    let release = releases::folder(runner, &releases::last_revision(runner)?)?;
    let name = release.file_name().unwrap_or_default().display();
    runner
        .command(&buf)
        .args(["breaking", "--against"])
        .arg(release.join("contract.binpb"))
        .run_or(format!("the contract breaks clients of release {name}"))
}
