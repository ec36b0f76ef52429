//! `parley doctor`: diagnoses problems with the configuration or the environment.

use super::{Exit, Settings, print_error};
use crate::server::doctor::{Verdict, examine};

/// Prints one line per finding to standard output. Returns [`Exit::Failure`] if a check failed.
pub(super) async fn run(settings: Settings) -> Exit {
    let config = match settings.load() {
        Ok(config) => config,
        Err(error) => {
            print_error(&error.to_string());
            return Exit::Config;
        }
    };
    let found = examine(&config).await;
    for finding in &found {
        let mark = match finding.verdict {
            Verdict::Passed => "ok",
            Verdict::Warning => "warn",
            Verdict::Failed => "FAIL",
        };
        println!("{mark:<6}{:<12}{}", finding.subject, finding.message);
    }
    let wrong = found.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    match wrong {
        0 => println!("\nParley can run here."),
        1 => println!("\n1 problem prevents Parley from running as configured."),
        count => println!("\n{count} problems prevent Parley from running as configured."),
    }
    if wrong == 0 { Exit::Ok } else { Exit::Failure }
}
