//! How a client reaches a service, and as whom.

use std::time::Duration;

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// A service's address and the token to show. Its `Debug` output does not show the token.
#[derive(Clone, Debug)]
pub struct Server {
    channel: Channel,
    secret: MetadataValue<Ascii>,
}

impl Server {
    /// A server that is connected to when it is first used, and again whenever the connection broke. Pings find a dead connection within
    /// 40 seconds.
    ///
    /// # Errors
    /// A sentence, when the address or the token has the wrong form.
    pub fn connect(address: &str, token: &str) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| format!("the server must be an address such as http://127.0.0.1:50051, not {address}"))?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let mut secret: MetadataValue<Ascii> = token.parse().map_err(|_| "the token must be visible ASCII characters".to_owned())?;
        secret.set_sensitive(true);
        Ok(Self {
            channel: endpoint.connect_lazy(),
            secret,
        })
    }

    /// The connection, for generated clients.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The request with the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("api-access-token", self.secret.clone());
        request
    }
}
