//! How the commands of a client reach a running service.

use crate::client::Server;

/// Which service, and as whom.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The service's gRPC address
    #[arg(long, env = "PARLEY_SERVER", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    server: String,
    /// The token to show
    #[arg(long, env = "PARLEY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
}

impl Target {
    /// The service, which is connected to when it is first used.
    ///
    /// # Errors
    /// A sentence, when the address or the token has the wrong form.
    pub fn open(&self) -> Result<Server, String> {
        Server::connect(&self.server, &self.token)
    }
}
