//! Upgrades from another revision to this one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::checks::{cargo, releases, runner::Runner, settings::variable};

/// The version of the other revision's crates. With the version of this revision, Cargo would reuse its artefacts.
const VERSION: &str = "0.0.0-previous";

/// Builds the other revision's program, and replaces replicas of it under load.
pub fn check_upgrade(runner: &Runner, revision: &str) -> Result<()> {
    let revision = commit(runner, revision)?;
    if variable("PARLEY_RECORD").is_some() {
        releases::folder(runner, &revision)?;
    }
    let other = runner.settings.root.join("target/previous");
    let built = fs::read_to_string(other.join("revision")).unwrap_or_default();
    if built.trim_end() != revision {
        build_other(runner, &revision, &other)?;
    }
    let (program, other) = (runner.settings.program(), other.join("parley"));
    runner.stage(format!("upgrade: from {revision} to this revision"));
    // Builds this revision's program again, because the other one has overwritten it.
    cargo::test(runner).args(["--no-run", "--test", "durability"]).run()?;
    ensure!(
        runner.settings.is_plan || fs::read(&program)? != fs::read(&other)?,
        "both programs are identical"
    );
    cargo::test(runner)
        .env("TEST_PREVIOUS_BINARY", other)
        .env("TEST_PREVIOUS_REVISION", revision)
        .args(["--test", "durability", "--", "--ignored", "--nocapture", "upgrade_"])
        .run()
}

/// Returns the full hash of a revision.
fn commit(runner: &Runner, revision: &str) -> Result<String> {
    let commit = format!("{revision}^{{commit}}");
    if let Some(hash) = runner.probe("git", &["rev-parse", "--verify", "--quiet", &commit]) {
        return Ok(hash);
    }
    if runner.probe("git", &["rev-parse", "--is-shallow-repository"]).as_deref() == Some("true") {
        bail!("this clone is shallow and does not hold the revision {revision}: run 'git fetch --unshallow'");
    }
    bail!("this clone does not hold the revision {revision}: fetch it from a repository that does")
}

/// Extracts a revision and compiles its program into a folder.
fn build_other(runner: &Runner, revision: &str, other: &Path) -> Result<()> {
    runner.stage(format!("upgrade: building {revision}"));
    let source = other.join("source");
    if !runner.settings.is_plan {
        if other.exists() {
            fs::remove_dir_all(other)?;
        }
        fs::create_dir_all(&source)?;
    }
    // The whole tree, because the folders that a build reads differ between releases. With new timestamps (-m): otherwise Cargo could reuse artefacts of
    // another revision that was built here after these files were committed.
    runner
        .command("sh")
        .args([
            "-c",
            "git archive --output=\"$1.tar\" \"$2\" && tar -x -m -f \"$1.tar\" -C \"$1\" && rm \"$1.tar\"",
            "sh",
        ])
        .arg(&source)
        .arg(revision)
        .run()?;
    compile(runner, &source).with_context(|| format!("{revision} does not compile"))?;
    if !runner.settings.is_plan {
        fs::copy(runner.settings.program(), other.join("parley"))?;
        fs::remove_dir_all(&source)?;
        fs::write(other.join("revision"), format!("{revision}\n"))?;
    }
    Ok(())
}

/// Compiles the program of a source tree into the target directory of the tests, by its own manifests and Cargo.lock (decision 0022).
fn compile(runner: &Runner, source: &Path) -> Result<()> {
    let package = if runner.settings.is_plan {
        source.join("PACKAGE")
    } else {
        change_versions(source)?;
        make_workspace(source)?;
        let metadata = runner
            .command("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .folder(source);
        let (is_read, metadata) = metadata.output()?;
        ensure!(is_read, "cargo metadata failed");
        let package = package_with_program(&serde_json::from_str(&metadata)?).context("no package has the program")?;
        // An empty test: with it, Cargo selects the same features as for the tests here, so that libraries of the same version are not compiled again.
        fs::create_dir_all(package.join("tests"))?;
        fs::write(package.join("tests/nothing.rs"), "fn main() {}\n")?;
        package
    };
    runner
        .command("cargo")
        .folder(&package)
        .env("CARGO_TARGET_DIR", &runner.settings.target)
        .args(["test", "--features", "faults"])
        .args(cargo::jobs(runner))
        .args(["--no-run", "--test", "nothing"])
        .run()
}

/// Returns the folder of the package with the program: the only package, or a crate of a workspace.
fn package_with_program(metadata: &Value) -> Option<PathBuf> {
    let is_program = |target: &Value| {
        target["name"] == "parley"
            && target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
    };
    let package = metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["targets"].as_array().is_some_and(|targets| targets.iter().any(is_program)))?;
    Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned())
}

/// Changes the version in every manifest below a folder.
fn change_versions(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            change_versions(&path)?;
        } else if entry.file_name() == "Cargo.toml" {
            fs::write(&path, with_version(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

/// Gives a package without a workspace one of its own. Otherwise Cargo would find the workspace of this repository, of which the package is no member.
fn make_workspace(source: &Path) -> Result<()> {
    let path = source.join("Cargo.toml");
    let manifest = fs::read_to_string(&path)?;
    if !manifest.lines().any(|line| line == "[workspace]") {
        fs::write(path, format!("{manifest}\n[workspace]\n"))?;
    }
    Ok(())
}

/// Returns a manifest with [`VERSION`] for the package, for the crates that inherit the version of their workspace, and where crates of the workspace require
/// each other.
fn with_version(manifest: &str) -> String {
    let mut is_package = false;
    let mut changed = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_package = matches!(line, "[package]" | "[workspace.package]");
        }
        if is_package && line.starts_with("version = \"") {
            changed.extend(["version = \"", VERSION, "\""]);
        } else if let Some((before, after)) = required_version(line) {
            changed.extend([before, VERSION, after]);
        } else {
            changed.push_str(line);
        }
        changed.push('\n');
    }
    changed
}

/// Returns the text before and after the version in a line that requires a crate of the workspace: `parley-types = { path = "…", version = "…" }`.
fn required_version(line: &str) -> Option<(&str, &str)> {
    let (_, requirement) = line.strip_prefix("parley-")?.split_once(" = {")?;
    let (_, rest) = requirement.split_once("path = ")?;
    let start = line.len() - rest.len() + rest.rfind("version = \"")? + "version = \"".len();
    let length = line[start..].find('"')?;
    Some((&line[..start], &line[start + length..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_of_the_workspace_change() {
        let manifest = "\
            [workspace.package]\nversion = \"0.1.0\"\nrust-version = \"1.94\"\n\n\
            [workspace.dependencies]\nparley-types = { path = \"crates/types\", version = \"0.1.0\" }\n\
            version = \"1\"\nserde = { version = \"1\" }\n\n\
            [package]\nname = \"parley\"\nversion = \"0.1.0\"\n";
        let changed = "\
            [workspace.package]\nversion = \"0.0.0-previous\"\nrust-version = \"1.94\"\n\n\
            [workspace.dependencies]\nparley-types = { path = \"crates/types\", version = \"0.0.0-previous\" }\n\
            version = \"1\"\nserde = { version = \"1\" }\n\n\
            [package]\nname = \"parley\"\nversion = \"0.0.0-previous\"\n";
        assert_eq!(with_version(manifest), changed);
    }

    #[test]
    fn package_gets_a_workspace_once() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        fs::write(&manifest, "[package]\nname = \"parley\"\n").unwrap();
        make_workspace(folder.path()).unwrap();
        make_workspace(folder.path()).unwrap();
        let changed = fs::read_to_string(manifest).unwrap();
        assert_eq!(changed, "[package]\nname = \"parley\"\n\n[workspace]\n");
    }

    #[test]
    fn package_with_the_program_is_found() {
        let metadata = json!({"packages": [
            {"manifest_path": "/crates/types/Cargo.toml", "targets": [{"name": "parley", "kind": ["lib"]}]},
            {"manifest_path": "/Cargo.toml", "targets": [{"name": "it", "kind": ["test"]}, {"name": "parley", "kind": ["bin"]}]},
        ]});
        assert_eq!(package_with_program(&metadata), Some(PathBuf::from("/")));
        assert_eq!(package_with_program(&json!({"packages": []})), None);
    }
}
