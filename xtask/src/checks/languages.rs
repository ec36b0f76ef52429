//! Checks with other languages, published clients and other programs.

use anyhow::Result;

use crate::checks::{
    cargo,
    runner::Runner,
    tools::{
        client_libraries::need_clients,
        debian::{need_generators, need_nginx, need_npm},
        node::{need_grpc_js, need_openapi_tools},
        python::{interpreter, need_grpc, need_openapi_generator, need_proxies, need_schemathesis, need_store},
    },
};

/// Runs Python with reflection, generated stubs and code for other languages, and an S3-compatible store.
pub fn check_languages(runner: &Runner) -> Result<()> {
    let python = need_grpc(runner)?;
    let node_modules = need_grpc_js(runner)?;
    let ignored = || {
        cargo::test(runner)
            .env("PARLEY_TEST_PYTHON", &python)
            .args(["--test", "it", "--", "--ignored"])
    };
    runner.stage("tests: Python with reflection, stubs for Python and JavaScript");
    ignored()
        .env("PARLEY_TEST_NODE_MODULES", node_modules)
        .args(["reflection_client_works", "generated_clients_work"])
        .run()?;
    need_generators(runner)?;
    runner.stage("code for Go, Java, C#, PHP and Ruby from the contract");
    runner.command(&python).args(["-B", "tests/grpc/generate.py"]).run()?;
    need_store(runner)?;
    runner.stage("tests: files in an S3-compatible store");
    ignored().arg("s3_").run()
}

/// Runs published third-party libraries for Chatwoot's API and a browser against the program: all flows, or those named.
pub fn check_clients(runner: &Runner, flows: &[String]) -> Result<()> {
    need_clients(runner)?;
    cargo::build_program(runner)?;
    runner.stage("clients: published libraries, and a page from another origin");
    runner
        .command(interpreter(runner))
        .args(["-B", "tests/clients/run.py"])
        .arg(runner.settings.program())
        .args(flows)
        .run_or("a client library or the page got an unexpected result")
}

/// Sends requests that are generated only from the description of the REST API.
pub fn check_openapi(runner: &Runner, seconds: u64) -> Result<()> {
    let python = need_schemathesis(runner)?;
    runner.stage(format!("the description of the REST API: schemathesis, about {seconds} seconds"));
    cargo::build_program(runner)?;
    runner
        .command(python)
        .args(["-B", "tests/openapi/run.py"])
        .arg(runner.settings.program())
        .arg(seconds.to_string())
        .run_or("schemathesis found a defect; its seed is printed above")
}

/// Lints the description, and runs clients generated from it in Python and TypeScript.
pub fn check_generated_clients(runner: &Runner) -> Result<()> {
    let python = need_openapi_generator(runner)?;
    need_npm(runner, "the generated clients need npm")?;
    runner.stage("the description of the REST API: linter and generated clients");
    cargo::build_program(runner)?;
    let node_modules = need_openapi_tools(runner)?;
    runner
        .command(python)
        .args(["-B", "tests/openapi/clients.py"])
        .arg(runner.settings.program())
        .arg(node_modules)
        .run()
}

/// Runs the configurations of docs/proxies.md in front of the program.
pub fn check_proxies(runner: &Runner) -> Result<()> {
    let python = need_proxies(runner)?;
    need_nginx(runner)?;
    runner.stage("proxies: nginx, Envoy and Traefik");
    cargo::build_program(runner)?;
    runner
        .command(python)
        .args(["-B", "tests/proxies/run.py"])
        .arg(runner.settings.program())
        .run()
}
