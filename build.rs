//! Which revision the program is built from, for `parley --version`.
use std::process::Command;

fn main() {
    // A build without the history, such as that of the image, is told its revision.
    println!("cargo:rerun-if-env-changed=PARLEY_REVISION");
    println!("cargo:rerun-if-changed=build.rs");
    let told = std::env::var("PARLEY_REVISION").ok().filter(|revision| !revision.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let version = match told.or_else(head) {
        Some(revision) => format!("{version} ({})", revision.get(..12).unwrap_or(&revision)),
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=PARLEY_VERSION={version}");
}

/// The commit that is checked out.
fn head() -> Option<String> {
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
