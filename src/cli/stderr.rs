//! What commands report on standard error.

use parley_telemetry::escape::escaped;

/// Reports to a person, on standard error, one line per problem. The text may come from the server, and so from its callers.
pub fn complain(sentence: &str) {
    for line in sentence.lines() {
        eprintln!("parley: {}", escaped(line));
    }
}
