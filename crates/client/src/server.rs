//! Configures the connection of a client: its address, TLS settings and token.

use std::time::Duration;

#[cfg(feature = "tls")]
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// The channel to a service and the token to authenticate with. The `Debug` output does not contain the token.
#[derive(Clone, Debug)]
pub struct Server {
    channel: Channel,
    secret: MetadataValue<Ascii>,
}

/// TLS settings, in PEM format. The defaults suffice if the service's certificate is signed by an authority that the system trusts.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The certificate of the authority that signed the service's certificate. If `None`, the system's trusted authorities are used.
    pub ca: Option<String>,
    /// The name in the service's certificate, if it differs from the host in the address.
    pub name: Option<String>,
    /// The certificate and the private key with which this client authenticates.
    pub identity: Option<(String, String)>,
}

impl TlsSettings {
    /// Applies these settings to the endpoint if its address begins with `https`; otherwise, returns the endpoint unchanged.
    ///
    /// # Errors
    /// Returns a message if a certificate cannot be used, or if this crate was built without its feature `tls`.
    pub fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        if endpoint.uri().scheme_str() == Some("https") {
            self.secure(endpoint)
        } else {
            Ok(endpoint)
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "the other configuration reads the settings")]
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
        endpoint
            .tls_config(tls)
            .map_err(|error| format!("failed to configure TLS: {error}"))
    }
}

impl Server {
    /// Creates a client that connects on first use, and again whenever the connection breaks. Pings detect a dead connection within 40
    /// seconds. With `https`, the client trusts the system's certificate authorities; use [`Self::connect_with`] for others.
    ///
    /// # Errors
    /// Returns a message if the address or the token is malformed.
    pub fn connect(address: &str, token: &str) -> Result<Self, String> {
        Self::connect_with(address, token, &TlsSettings::default())
    }

    /// Like [`Self::connect`], but uses the given TLS settings if the address begins with `https`.
    ///
    /// # Errors
    /// Returns a message if the address, the token or a certificate is malformed.
    pub fn connect_with(address: &str, token: &str, trust: &TlsSettings) -> Result<Self, String> {
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

    /// Returns the channel, for use by generated gRPC clients.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Creates a request that contains the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("api-access-token", self.secret.clone());
        request
    }
}
