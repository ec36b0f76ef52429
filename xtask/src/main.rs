//! `cargo xtask COMMAND`: generated files and checks of this repository's sources, run by its tests and by hand.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod checks;
mod descriptors;
mod same_tokens;

const USAGE: &str = "usage: cargo xtask COMMAND\n\n\
    descriptors                     compiles proto/ into crates/proto/descriptors\n\
    same-tokens REVISION [PATH...]  fails when a Rust source below PATH differs from REVISION in more than comments and white space\n\
    test [CHECK]                    all checks, which ./test runs: ./test --help lists them";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("descriptors", rest)) => descriptors::write(rest)?,
        Some(("same-tokens", rest)) => same_tokens::check(rest)?,
        Some(("test", rest)) => return Ok(checks::run(rest)),
        _ => bail!("{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}
