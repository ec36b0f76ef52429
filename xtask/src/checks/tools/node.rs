//! npm packages. npm removes packages that are not on its command line, so each group has its own folder.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::checks::{
    runner::{Runner, Step},
    settings::is_executable,
    tools::debian::need_npm,
};

const BUF_VERSION: &str = "1.75.0";
/// The schemas of the Gateway API and the Prometheus Operator.
const SCHEMAS: [&str; 2] = [
    "@kubernetes-models/gateway-api@2.0.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
];
/// The gRPC client for JavaScript.
const GRPC_JS: [&str; 2] = ["@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1"];
/// A linter for the description of the REST API, and a client generator, which tests/openapi/clients.py runs with their default settings.
const OPENAPI: [&str; 4] = [
    "@redocly/cli@2.77.0",
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.15.0",
    "typescript@5.9.3",
];

/// Returns the command that installs packages into a folder.
pub fn npm_install<'a>(runner: &'a Runner, folder: &Path, packages: &[&str]) -> Step<'a> {
    runner
        .command("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix"])
        .arg(folder)
        .args(packages)
}

/// Installs the gRPC client for JavaScript, and returns its `node_modules`.
pub fn need_grpc_js(runner: &Runner) -> Result<PathBuf> {
    let folder = runner.settings.tools.join("grpc-js");
    let modules = folder.join("node_modules");
    if !modules.join("@grpc/proto-loader").is_dir() {
        need_npm(runner, "the test of grpc-js needs npm")?;
        let names = GRPC_JS.join(" ");
        runner.stage(format!("npm: {names}"));
        npm_install(runner, &folder, &GRPC_JS).run_or(format!("npm could not install {names}"))?;
    }
    Ok(modules)
}

/// Installs buf, which checks the contract, and returns its path.
pub fn need_buf(runner: &Runner) -> Result<PathBuf> {
    let tools = &runner.settings.tools;
    let buf = tools.join("node_modules/.bin/buf");
    if !is_executable(&buf) || runner.probe(&buf, &["--version"]).as_deref() != Some(BUF_VERSION) {
        need_npm(runner, "the contract's lint needs npm")?;
        runner.stage(format!("npm: buf {BUF_VERSION}"));
        install_buf_and_schemas(runner, &format!("@bufbuild/buf {BUF_VERSION}"))?;
    }
    Ok(buf)
}

/// Installs the schemas of custom resources where the tests expect them.
pub fn need_schemas(runner: &Runner) -> Result<()> {
    let models = runner.settings.tools.join("node_modules/@kubernetes-models");
    if models.join("prometheus-operator").is_dir() && models.join("gateway-api").is_dir() {
        return Ok(());
    }
    need_npm(runner, "the chart's tests need npm")?;
    let names = SCHEMAS.join(" ");
    runner.stage(format!("npm: {names}"));
    install_buf_and_schemas(runner, &names)
}

/// Installs both at once. They share a folder, so npm would remove either of them if it were installed without the other.
fn install_buf_and_schemas(runner: &Runner, subject: &str) -> Result<()> {
    let buf = format!("@bufbuild/buf@{BUF_VERSION}");
    let packages = [&buf, SCHEMAS[0], SCHEMAS[1]];
    npm_install(runner, &runner.settings.tools, &packages).run_or(format!("npm could not install {subject}"))
}

/// Installs the linter and the client generator, and returns their `node_modules`. npm determines whether they are up to date.
pub fn need_openapi_tools(runner: &Runner) -> Result<PathBuf> {
    let folder = runner.settings.tools.join("generators");
    npm_install(runner, &folder, &OPENAPI).run_or(format!("npm could not install {}", OPENAPI.join(" ")))?;
    Ok(folder.join("node_modules"))
}
