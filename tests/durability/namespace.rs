//! Runs a test in a Linux namespace of its own, so that its changes to the network or to mounts are invisible outside.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write as _},
    process::{Command, Stdio},
};

/// Set inside a namespace.
const INSIDE: &str = "PARLEY_TEST_NAMESPACE";

/// The number of server log lines that a failure shows.
const LOG_LINES: usize = 200;

/// Runs a test of this program again in a new namespace of this kind (`--net`, `--mount`). Returns false if this process is that run.
pub fn runs_inside(test: &str, kind: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let itself = std::env::current_exe().expect("this program has a file");
    let run = Command::new("unshare")
        .args([kind, "sh", "-c", "exec 2>&1; exec \"$0\" \"$@\""])
        .arg(itself)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .stdout(Stdio::piped())
        .spawn();
    let mut run = run.unwrap_or_else(|error| panic!("unshare: {error}: install util-linux"));
    let said = listen(BufReader::new(run.stdout.take().expect("it is piped")));
    let status = run.wait().expect("it is our child");
    assert!(
        status.success(),
        "{test} in its namespace: {status}; namespaces need root. It said:\n{said}"
    );
    true
}

/// Prints the progress of the inner run while it goes on. Returns what explains a failure: all output of the test, and the last lines of
/// the server logs.
fn listen(output: impl BufRead) -> String {
    let (mut said, mut logged) = (Vec::new(), VecDeque::new());
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("durability:") {
            // `println!` would be captured by the test harness until the test fails.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        if line.starts_with('{') {
            logged.push_back(line);
            if logged.len() > LOG_LINES {
                logged.pop_front();
            }
        } else {
            said.push(line);
        }
    }
    said.push(format!("the last {} lines that servers logged:", logged.len()));
    said.extend(logged);
    said.join("\n")
}
