//! Unit tests, behaviour tests and the kill test.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use crate::checks::{
    cargo,
    runner::Runner,
    tools::debian::{need_faketime, need_namespaces, need_nats, need_postgres},
};

/// The modules of behaviour tests that `./test fast` runs: records, messages, filters, pages, permissions and the stream.
const CORE: [&str; 29] = [
    "contact_changes",
    "contact_json",
    "contacts",
    "conversation_changes",
    "conversations",
    "exact_changes",
    "filters",
    "golden",
    "idempotency",
    "inboxes",
    "messages",
    "module_cycles",
    "paging",
    "receipts",
    "records",
    "removal",
    "roles",
    "sending",
    "stream::consume",
    "stream::filters",
    "stream::order",
    "stream::resume",
    "stream::snapshot",
    "teams",
    "teamwork",
    "teamwork_json",
    "tenancy",
    "times",
    "users",
];

/// The largest number of failed tests of a test program that are repeated.
const REPEATED: usize = 5;

pub fn compile(runner: &Runner) -> Result<()> {
    runner.stage("tests: compiling");
    cargo::test(runner).arg("--no-run").run()
}

/// Fails if tests of the last release are missing.
pub fn compare_with_release(runner: &Runner) -> Result<()> {
    runner.stage("tests: compare with the last release");
    // The interpreter was installed with the tools.
    let step = runner.command("python3").args(["-B", "tests/releases/tests.py", "compare"]);
    let (is_complete, listing) = step.output()?;
    if runner.settings.is_plan {
        return Ok(());
    }
    fs::write(runner.settings.root.join("target/tests.log"), &listing)?;
    ensure!(
        is_complete,
        "tests were removed or renamed without a line in renames.txt: {listing}"
    );
    runner.print(format!("{}\n", listing.lines().last().unwrap_or_default()));
    Ok(())
}

/// Runs the core behaviour tests on SQLite. A name that matches no test is an error, so that a renamed module is noticed.
pub fn check_core(runner: &Runner) -> Result<()> {
    runner.stage("tests: core behaviour on SQLite");
    let (is_compiled, tests) = cargo::test(runner).args(["--test", "it", "--", "--list"]).output()?;
    ensure!(is_compiled, "the behaviour tests do not compile");
    let filters = CORE.map(|module| format!("{module}::"));
    for filter in &filters {
        ensure!(
            runner.settings.is_plan || tests.lines().any(|test| test.starts_with(filter.as_str())),
            "no behaviour test begins with {filter} (the list CORE in xtask/src/checks/behaviour.rs)"
        );
    }
    cargo::test(runner)
        .args(["--test", "it", "--"])
        .args(filters)
        .args(["--skip", "on_postgres", "--skip", "replica", "--skip", "nats", "--skip", "fencing"])
        .args(["--test-threads", &runner.settings.threads])
        .run()
}

/// Runs one test program (`target` is `--test=NAME`) and returns its failed tests, which are few enough to be repeated.
pub fn run(runner: &Runner, target: &str) -> Result<Vec<String>> {
    let step = cargo::test(runner).args([target, "--", "--test-threads", &runner.settings.threads]);
    let (is_passed, output) = step.shown_output()?;
    if is_passed {
        return Ok(Vec::new());
    }
    repeatable(&output).with_context(|| format!("{target} failed"))
}

/// Repeats failed tests of a test program alone. Those that pass then do not fail the run, but are listed at its end: each is a defect of the
/// test or of the program (decision 0011).
pub fn repeat(runner: &Runner, target: &str, failed: &[String]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let names = failed.join(" ");
    runner.stage(format!("alone: {names}"));
    let step = cargo::test(runner)
        .args([target, "--", "--exact", "--test-threads", "1"])
        .args(failed);
    let (is_passed, output) = step.shown_output()?;
    ensure!(is_passed, "failed twice, among: {names}");
    let result = format!("test result: ok. {} passed;", failed.len());
    ensure!(
        output.lines().any(|line| line.starts_with(&result)),
        "could not be repeated: {names}"
    );
    Ok(())
}

/// Returns the failed tests in the output of a test program, or `None` if they are too many or not all known by name.
fn repeatable(output: &str) -> Option<Vec<String>> {
    let names = output
        .lines()
        .filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    let failed: Vec<String> = names.map(str::to_owned).collect();
    // A test that failed without output has no such line.
    let count = format!(" {} failed;", failed.len());
    let mut results = output.lines().filter(|line| line.starts_with("test result: FAILED."));
    ((1..=REPEATED).contains(&failed.len()) && results.any(|line| line.contains(&count))).then_some(failed)
}

/// Runs the kill test alone, for about that many minutes.
pub fn check_durability(runner: &Runner, minutes: u64) -> Result<()> {
    need_postgres(runner)?;
    need_nats(runner)?;
    need_namespaces(runner)?;
    need_faketime(runner)?;
    runner.stage(format!("kill test: about {minutes} minutes"));
    let kill_test = |seconds: u64, options: &[&str]| {
        cargo::test(runner)
            .env("PARLEY_DURABILITY_SECONDS", seconds.to_string())
            .args(["--test", "durability", "--", "--nocapture"])
            .args(options)
            .run()
    };
    if minutes < 20 {
        // Seven tests run traffic for a fifth of that each.
        return kill_test(60 * minutes * 5 / 7, &[]);
    }
    kill_test(30 * minutes * 5 / 7, &[])?;
    runner.stage("kill test: each fault separately, and with each protection disabled");
    let others = ["--ignored", "--skip", "upgrade_", "--skip", "siege_", "--skip", "slices_of_work"];
    kill_test(12 * minutes, &others)
}

/// Parses the arguments of `./test durability`: the minutes, two by default.
pub fn minutes(arguments: &[String]) -> Result<u64> {
    match arguments {
        [option, minutes, ..] if option == "--minutes" => minutes.parse().context("--minutes needs a number"),
        [option] if option == "--minutes" => bail!("--minutes needs a number"),
        _ => Ok(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(failed: usize, listed: usize) -> String {
        let lines: Vec<String> = (0..listed)
            .map(|number| format!("---- module::test_{number} stdout ----"))
            .collect();
        let lines = lines.join("\npanicked\n\n");
        format!("failures:\n\n{lines}\n\ntest result: FAILED. 3 passed; {failed} failed; 0 ignored; finished in 1.00s\n")
    }

    #[test]
    fn small_numbers_of_failed_tests_are_repeated() {
        assert_eq!(
            repeatable(&output(2, 2)),
            Some(vec!["module::test_0".to_owned(), "module::test_1".to_owned()])
        );
        assert!(repeatable(&output(5, 5)).is_some());
    }

    #[test]
    fn many_or_unnamed_failed_tests_are_not_repeated() {
        assert_eq!(repeatable(&output(6, 6)), None);
        assert_eq!(repeatable(&output(2, 1)), None);
        assert_eq!(repeatable(&output(1, 0)), None);
        assert_eq!(repeatable("error: could not compile"), None);
    }

    #[test]
    fn minutes_need_a_number() {
        let minutes = |arguments: &[&str]| minutes(&arguments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(minutes(&[]).unwrap(), 2);
        assert_eq!(minutes(&["--minutes", "30"]).unwrap(), 30);
        assert!(minutes(&["--minutes"]).is_err());
        assert!(minutes(&["--minutes", "long"]).is_err());
    }
}
