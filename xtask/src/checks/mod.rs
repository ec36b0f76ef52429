//! `./test`: all checks of this repository. On a fresh Debian machine they need only the Rust toolchain, and root to install everything else.

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};

mod background;
mod behaviour;
mod cargo;
mod children;
mod contact_field;
mod contract;
mod durations;
mod form;
mod languages;
mod measurements;
mod packaging;
mod releases;
mod runner;
mod settings;
mod tools;
mod upgrade;

use background::Background;
use runner::Runner;
use settings::Settings;
use tools::{client_libraries, debian, node, python};

const USAGE: &str = "\
./test                         everything: formatting, lints, contract, both databases, other languages, the kill test, the chart and the image
./test fast                    formatting, lints, unit tests, and the core behaviour on SQLite: about two minutes once everything is compiled,
                               without root, network, PostgreSQL or NATS
./test packaging               only the Helm chart and the Dockerfile
./test image [--quick|--twice] builds the actual image, as root: an optimised build (--quick: not optimised; --twice: builds twice and compares)
./test clients [FLOW...]       published third-party libraries for Chatwoot's API, and a browser, against the program
./test openapi [SECONDS]       the description of the REST API: generated requests, a linter, and generated clients
./test proxies                 the configurations of docs/proxies.md for nginx, Envoy and Traefik
./test durability --minutes N  only the kill test, for about N minutes
./test nightly [SECONDS]       long-running checks: each fuzz target and the siege, for SECONDS (600), the length of uninterrupted work, the
                               published packages, advisories against dependencies, and the upgrade
./test upgrade [REVISION]      a rolling upgrade under load from that revision (default: the last release) to this one, and a rollback;
                               PARLEY_RECORD=1 regenerates its databases in tests/releases

./test --plan [CHECK]          prints the stages and commands of a check on this machine without running them

TEST_JOBS sets the number of parallel compilers (default: processors), TEST_THREADS that of behaviour tests (default: three times as many), and
TEST_POSTGRES_URL a PostgreSQL server to use instead of starting one.
";

/// Runs the checks that the arguments select, and prints their error.
pub fn run(arguments: &[String]) -> ExitCode {
    let (is_plan, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "--plan" => (true, rest),
        _ => (false, arguments),
    };
    if matches!(arguments.first().map(String::as_str), Some("--help" | "-h")) {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match root().and_then(|root| run_in(Settings::new(root, is_plan)?, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the root of the repository: the nearest folder with a Cargo.lock.
fn root() -> Result<PathBuf> {
    let folder = env::current_dir()?;
    let root = folder.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    Ok(root.context("not in the repository")?.to_owned())
}

fn run_in(settings: Settings, arguments: &[String]) -> Result<()> {
    let runner = Runner::new(settings);
    runner.children.clone().stop_on_signals()?;
    let result = select(&runner, arguments);
    // After a failure, background checks may still be running.
    runner.children.stop();
    runner.end_stage();
    let durations = runner.durations.table(Duration::from_secs(1));
    if !runner.settings.is_plan && !durations.is_empty() {
        runner.note("durations");
        runner.print(durations);
    }
    let unreliable = result?;
    if !unreliable.is_empty() {
        runner.note(format!("UNRELIABLE, fix them: {}", unreliable.join(" ")));
    }
    if !runner.settings.is_plan {
        runner.note("all passed");
    }
    Ok(())
}

/// Runs the selected checks, and returns the unreliable tests: those that failed among others and passed when they were repeated alone.
fn select(runner: &Runner, arguments: &[String]) -> Result<Vec<String>> {
    let (check, rest) = arguments
        .split_first()
        .map_or(("all", arguments), |(check, rest)| (check.as_str(), rest));
    let seconds = |default: u64| {
        rest.first().map_or(Ok(default), |seconds| {
            seconds.parse().with_context(|| format!("SECONDS is not a number: {seconds}"))
        })
    };
    match check {
        "all" => return run_all(runner),
        "fast" => run_fast(runner)?,
        "packaging" => packaging::check_packaging(runner)?,
        "image" => packaging::build_image(runner, rest)?,
        "clients" => languages::check_clients(runner, rest)?,
        "openapi" => {
            languages::check_openapi(runner, seconds(300)?)?;
            languages::check_generated_clients(runner)?;
        }
        "proxies" => languages::check_proxies(runner)?,
        "durability" => behaviour::check_durability(runner, behaviour::minutes(rest)?)?,
        "nightly" => run_nightly(runner, seconds(600)?)?,
        "upgrade" => {
            debian::need_postgres(runner)?;
            let revision = rest
                .first()
                .map_or_else(|| releases::last_revision(runner), |revision| Ok(revision.clone()))?;
            upgrade::check_upgrade(runner, &revision)?;
        }
        other => bail!(
            "unknown check: {other}; use ./test, ./test fast, ./test packaging, ./test image, ./test clients, ./test openapi, ./test proxies, \
             ./test nightly, ./test durability --minutes N, or ./test upgrade [REVISION]"
        ),
    }
    Ok(Vec::new())
}

/// The behaviour tests, as an argument of Cargo.
const BEHAVIOUR: &str = "--test=it";

/// The tests that kill processes and cut connections, as an argument of Cargo.
const CRASHES: &str = "--test=durability";

fn run_all(runner: &Runner) -> Result<Vec<String>> {
    // In the background, because it mostly waits for the network.
    let prepare = Background::begin(runner, "prepare", install_tools)?;
    form::check_form(runner)?;
    form::check_documentation(runner)?;
    prepare.finish(runner)?;
    // Checks of the sources, some of which compile them.
    form::check_sources(runner)?;
    contract::check_contract(runner)?;
    contact_field::check_contact_field(runner)?;
    // Checks of the compiled tests and programs.
    behaviour::compile(runner)?;
    behaviour::compare_with_release(runner)?;
    let others = Background::begin(runner, "check_others", check_others)?;
    runner.stage("tests: unit tests");
    cargo::test(runner).args(["--lib", "--bins", "--examples"]).run()?;
    runner.stage("tests: behaviour");
    let mut failed = behaviour::run(runner, BEHAVIOUR)?;
    let failed_crashes = others.finish(runner)?;
    // Repeat the failed tests only now, when nothing runs beside them.
    behaviour::repeat(runner, BEHAVIOUR, &failed)?;
    behaviour::repeat(runner, CRASHES, &failed_crashes)?;
    failed.extend(failed_crashes);
    Ok(failed)
}

/// Installs all tools in advance. Later calls of the same functions find them installed.
fn install_tools(runner: &Runner) -> Result<()> {
    debian::need_postgres(runner)?;
    debian::need_nats(runner)?;
    debian::need_namespaces(runner)?;
    debian::need_faketime(runner)?;
    debian::need_sqlite(runner)?;
    python::need_grpcurl(runner)?;
    node::need_buf(runner)?;
    node::need_schemas(runner)?;
    node::need_grpc_js(runner)?;
    python::need_grpc(runner)?;
    debian::need_generators(runner)?;
    python::need_store(runner)?;
    python::need_source_checkers(runner)?;
    python::need_openapi_generator(runner)?;
    python::need_proxies(runner)?;
    python::need_packaging(runner)?;
    client_libraries::need_clients(runner)
}

/// Checks with other programs and libraries, then the crash tests, which mostly wait. Returns the failed crash tests.
fn check_others(runner: &Runner) -> Result<Vec<String>> {
    languages::check_languages(runner)?;
    packaging::check_packaging(runner)?;
    languages::check_clients(runner, &[])?;
    languages::check_openapi(runner, 40)?;
    languages::check_generated_clients(runner)?;
    languages::check_proxies(runner)?;
    measurements::check_fuzz(runner, 10)?;
    runner.stage("tests: crashes and partitions");
    behaviour::run(runner, CRASHES)
}

fn run_fast(runner: &Runner) -> Result<()> {
    form::check_form(runner)?;
    runner.stage("tests: units");
    cargo::test(runner).args(["--lib", "--bins"]).run()?;
    behaviour::check_core(runner)
}

fn run_nightly(runner: &Runner, seconds: u64) -> Result<()> {
    debian::need_postgres(runner)?;
    measurements::check_fuzz(runner, seconds)?;
    measurements::check_generated_requests(runner)?;
    packaging::check_packages(runner)?;
    form::check_advisories(runner)?;
    measurements::check_siege(runner, seconds)?;
    measurements::check_slices(runner)?;
    upgrade::check_upgrade(runner, &releases::last_revision(runner)?)
}
