//! `parley initial-token`: prints the administrator's token that a server generated for an empty database. A server that logs in JSON
//! stores this token in a file instead of printing it.

use super::{Exit, Settings, print_error};
use crate::server::token_file;

/// Prints the token to standard output, then removes the file that contains it.
pub(super) async fn run(settings: Settings) -> Exit {
    let config = match settings.load() {
        Ok(config) => config,
        Err(error) => {
            print_error(&error.to_string());
            return Exit::Config;
        }
    };
    let file = token_file(&config);
    let taken = async {
        let secret = tokio::fs::read_to_string(&file).await?;
        println!("{}", secret.trim_end());
        tokio::fs::remove_file(&file).await
    };
    match taken.await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            print_error(&format!("{}: {error}", file.display()));
            Exit::Failure
        }
    }
}
