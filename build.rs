//! Which revision a release is built from, for `parley --version`.
use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BUILD_REVISION");
    // The image is built without the history, so its build sets the revision.
    let given = env::var("BUILD_REVISION").ok().filter(|revision| !revision.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let version = match given.or_else(head) {
        Some(revision) => format!("{version} ({})", revision.get(..18).unwrap_or(&revision)),
        None => version.to_owned(),
    };
    // Cargo sets it for the program too where it runs it, so it may not look like a setting: those begin with PARLEY_.
    println!("cargo:rustc-env=BUILD_VERSION={version}");
}

/// The commit that is checked out, with `-dirty` behind it where files differ from it. Absent in a development build, which would be made anew
/// with every commit, and outside of a clone of this repository: a folder within another repository has that one's history.
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
