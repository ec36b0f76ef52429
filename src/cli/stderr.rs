//! Prints the errors of commands.

use parley_telemetry::escape::escaped;

/// Prints an error for the user to standard error, one line per problem. The message is escaped, because it can contain text from the
/// server and thus from other callers.
pub fn print_error(message: &str) {
    for line in message.lines() {
        eprintln!("parley: {}", escaped(line));
    }
}
