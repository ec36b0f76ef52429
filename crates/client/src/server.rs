//! How a client reaches a service, and as whom.

use std::time::Duration;

#[cfg(feature = "tls")]
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
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

/// What TLS to a service rests on. PEM texts; all of it may be left out for a service whose certificate the system's authorities sign.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Who signs the service's certificate. None: the system's authorities.
    pub ca: Option<String>,
    /// The name in the service's certificate, where it is not the address's.
    pub name: Option<String>,
    /// The certificate and the key that this client shows.
    pub identity: Option<(String, String)>,
}

impl Trust {
    /// An endpoint that goes by it, if its address begins with `https`.
    ///
    /// # Errors
    /// A sentence, when a certificate cannot be used, or this crate was built without its feature `tls`.
    pub fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        if endpoint.uri().scheme_str() == Some("https") {
            self.secure(endpoint)
        } else {
            Ok(endpoint)
        }
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self)] // it is the configuration where TLS is compiled in
    fn secure(&self, _endpoint: Endpoint) -> Result<Endpoint, String> {
        Err("https needs the feature `tls` of parley-client".to_owned())
    }

    #[cfg(feature = "tls")]
    fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        if let Some(name) = &self.name {
            tls = tls.domain_name(name);
        }
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(tls).map_err(|error| format!("TLS cannot be used: {error}"))
    }
}

impl Server {
    /// A server that is connected to when it is first used, and again whenever the connection broke. Pings find a dead connection within
    /// 40 seconds. With `https` the system's authorities vouch for it; see [`Self::connect_with`] for others.
    ///
    /// # Errors
    /// A sentence, when the address or the token has the wrong form.
    pub fn connect(address: &str, token: &str) -> Result<Self, String> {
        Self::connect_with(address, token, &Trust::default())
    }

    /// As [`Self::connect`], over TLS that rests on `trust` where the address begins with `https`.
    ///
    /// # Errors
    /// A sentence, when the address, the token or a certificate has the wrong form.
    pub fn connect_with(address: &str, token: &str, trust: &Trust) -> Result<Self, String> {
        let endpoint = trust
            .apply(
                Endpoint::from_shared(address.to_owned())
                    .map_err(|_| format!("the server must be an address such as http://127.0.0.1:50051, not {address}"))?,
            )?
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
