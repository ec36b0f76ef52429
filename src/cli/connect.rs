//! How the commands of a client reach a running service.

use std::time::Duration;

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

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
    /// A channel that connects when it is first used, and again when it broke. Pings find a dead connection within 40 seconds.
    ///
    /// # Errors
    /// A sentence, when the address or the token has the wrong form.
    pub fn open(&self) -> Result<(Channel, Credential), String> {
        let endpoint = Endpoint::from_shared(self.server.clone())
            .map_err(|_| format!("--server must be an address such as http://127.0.0.1:50051, not {}", self.server))?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let mut secret: MetadataValue<Ascii> = self
            .token
            .parse()
            .map_err(|_| "--token must be visible ASCII characters".to_owned())?;
        secret.set_sensitive(true);
        Ok((endpoint.connect_lazy(), Credential(secret)))
    }
}

/// The token, ready to go with requests; its `Debug` output does not show it.
#[derive(Clone, Debug)]
pub struct Credential(MetadataValue<Ascii>);

impl Credential {
    /// The request with the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("api-access-token", self.0.clone());
        request
    }
}
