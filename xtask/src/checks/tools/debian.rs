//! Debian packages.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::checks::{
    runner::Runner,
    settings::{is_executable, variable},
};

/// Installs Debian packages.
///
/// # Errors
/// Returns an error that says what to do if the packages cannot be installed.
pub fn install(runner: &Runner, reason: &str, packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !runner.settings.is_plan {
        ensure!(
            runner.settings.has("apt-get"),
            "{reason}: install {names} with this system's package manager"
        );
        ensure!(is_root(), "{reason}: run 'apt-get install {names}' as root");
    }
    runner.stage(format!("installing {names}"));
    runner
        .command("apt-get")
        .args(["update", "-qq"])
        .run_or(format!("{reason}, and apt-get update failed: install {names}"))?;
    runner
        .command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .run_quietly_or(format!("{reason}, and apt-get could not install {names}"))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs packages unless all of these programs are on the PATH.
pub fn need_programs(runner: &Runner, programs: &[&str], reason: &str, packages: &[&str]) -> Result<()> {
    if programs.iter().all(|program| runner.settings.has(program)) {
        return Ok(());
    }
    install(runner, reason, packages)
}

pub fn need_postgres(runner: &Runner) -> Result<()> {
    if variable("TEST_POSTGRES_URL").is_some() || exists_below("/usr/lib/postgresql", "bin/initdb") {
        return Ok(());
    }
    install(runner, "the tests need a PostgreSQL server (or TEST_POSTGRES_URL)", &["postgresql"])
}

pub fn need_nats(runner: &Runner) -> Result<()> {
    if runner.settings.has("nats-server") || is_executable(Path::new("/usr/sbin/nats-server")) {
        return Ok(());
    }
    install(runner, "some tests need a NATS server", &["nats-server"])
}

/// Installs and tries network namespaces, in which the partition test runs its replicas.
pub fn need_namespaces(runner: &Runner) -> Result<()> {
    need_programs(
        runner,
        &["ip", "unshare"],
        "the partition test needs network namespaces",
        &["iproute2", "util-linux"],
    )?;
    ensure!(
        runner.settings.is_plan || runner.probe("unshare", &["--net", "true"]).is_some(),
        "the partition test creates network namespaces: run as root"
    );
    Ok(())
}

/// Installs a library that changes the clock of a program, for the tests of clock jumps.
pub fn need_faketime(runner: &Runner) -> Result<()> {
    if exists_below("/usr/lib", "faketime/libfaketimeMT.so.1") {
        return Ok(());
    }
    install(runner, "the tests of clock jumps need libfaketime", &["libfaketime"])
}

/// Installs the Protobuf compiler, and plugins for the languages for which the tests only generate code.
pub fn need_generators(runner: &Runner) -> Result<()> {
    need_programs(
        runner,
        &["protoc-gen-go", "protoc-gen-go-grpc", "grpc_java_plugin"],
        "generating code for Go and Java needs plugins",
        &[
            "protobuf-compiler",
            "protoc-gen-go",
            "protoc-gen-go-grpc",
            "protobuf-compiler-grpc-java-plugin",
        ],
    )
}

/// Installs the program with which operators back up SQLite, in this system's version.
pub fn need_sqlite(runner: &Runner) -> Result<()> {
    need_programs(runner, &["sqlite3"], "the backup test needs sqlite3", &["sqlite3"])
}

pub fn need_nginx(runner: &Runner) -> Result<()> {
    if runner.settings.has("nginx") || is_executable(Path::new("/usr/sbin/nginx")) {
        return Ok(());
    }
    install(runner, "the proxy tests need nginx", &["nginx-light"])
}

pub fn need_npm(runner: &Runner, reason: &str) -> Result<()> {
    need_programs(runner, &["npm"], reason, &["npm"])
}

/// Returns whether a path exists in any of the folders of a folder.
fn exists_below(folder: &str, path: &str) -> bool {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    folders.into_iter().any(|entry| entry.path().join(path).exists())
}
