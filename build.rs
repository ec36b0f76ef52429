//! Determines the revision that `parley --version` reports.
use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BUILD_REVISION");
    // The image build has no access to the Git history, so it passes the revision in an environment variable.
    let given = env::var("BUILD_REVISION").ok().filter(|revision| !revision.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let version = match given.or_else(head) {
        Some(revision) => format!("{version} ({})", revision.get(..18).unwrap_or(&revision)),
        None => version.to_owned(),
    };
    // Cargo also sets `BUILD_VERSION` in the environment of programs that it runs. The name of this variable must not start with `PARLEY_`,
    // because such names are reserved for settings.
    println!("cargo:rustc-env=BUILD_VERSION={version}");
}

/// Returns the checked-out commit, with the suffix `-dirty` if tracked files differ from it. Returns `None` in a development build, which
/// would otherwise be rebuilt after every commit. Also returns `None` if this directory is not the root of a Git clone: a source tree
/// inside another repository would otherwise report that repository's commit.
fn head() -> Option<String> {
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    if env::var("PROFILE").as_deref() != Ok("release") || !Path::new(&here).join(".git").exists() {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| !commit.is_empty())?;
    let differs = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|status| !status.is_empty());
    Some(if differs { format!("{commit}-dirty") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
