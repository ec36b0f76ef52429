//! `cargo xtask COMMAND`: checks of this repository's sources.

use anyhow::{Result, bail};

mod same_tokens;

const USAGE: &str = "usage: cargo xtask same-tokens REVISION [PATH...]\n\n\
    same-tokens  fails when a Rust source below PATH differs from REVISION in more than comments and white space";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "same-tokens" => same_tokens::check(rest),
        _ => bail!("{USAGE}"),
    }
}
