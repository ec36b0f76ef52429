//! Resources that a server acquires before it accesses its database: listeners, certificates, and the clients of other configured services.
//!
//! All of them are acquired first, so a server that cannot start leaves an empty database empty. The first administrator's token is stored
//! only as a hash; this order ensures that it is created only by a start that succeeds and prints it.

use parley_blobs::Storage;
use parley_domain::mail::Mailer;
use parley_eventlog::nats::{Relay, RelayReceiver};
use tokio::net::TcpListener;

use super::{config_mapping, listeners, tls::Tls};
use crate::config::Config;

/// The reasons, apart from the database, why a server does not start. Each message names the setting to change and contains no secrets.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be bound.
    #[error("{listener}.addr = {address} cannot be bound: {}", bind_error(.listener, *.in_use, .source))]
    Listen {
        /// `grpc`, `http` or `admin`.
        listener: &'static str,
        /// The configured address.
        address: String,
        /// Whether another process uses the address.
        in_use: bool,
        /// The system's error.
        source: std::io::Error,
    },
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
}

fn bind_error(listener: &str, in_use: bool, source: &std::io::Error) -> String {
    if in_use {
        format!("another process listens there: stop it, or choose another address (--{listener}-addr)")
    } else {
        source.to_string()
    }
}

impl StartError {
    /// Creates the error for a setting that cannot be used. `error` already names the setting.
    fn setting(error: &anyhow::Error) -> Self {
        Self::Setting(format!("{error:#}"))
    }
}

/// Binds an address. From then on, connections queue in the listener until they are accepted.
///
/// # Errors
/// Returns [`StartError::Listen`] if the address cannot be bound.
pub async fn bind(listener: &'static str, address: &str) -> Result<TcpListener, StartError> {
    listeners::listen(address).await.map_err(|source| StartError::Listen {
        listener,
        address: address.to_owned(),
        in_use: source.kind() == std::io::ErrorKind::AddrInUse,
        source,
    })
}

/// Loads the certificates of the listeners. Returns `None` if TLS is disabled.
///
/// # Errors
/// Returns [`StartError::Setting`] if the certificates cannot be used.
pub fn tls(config: &Config) -> Result<Option<Tls>, StartError> {
    Tls::open(&config.tls).map_err(|error| StartError::setting(&error))
}

/// Configures the file store. It is opened later, because an unavailable store only prevents uploads.
///
/// # Errors
/// Returns [`StartError::Setting`] if the URL is invalid.
pub fn file_store(config: &Config) -> Result<Storage, StartError> {
    Storage::new(&config_mapping::file_store(config)).map_err(|error| StartError::setting(&error))
}

/// Configures the mailer, which connects when there is an email to send. Returns `None` if no mail server is configured.
///
/// # Errors
/// Returns [`StartError::Setting`] if the URL or the sender is invalid.
pub fn mailer(config: &Config) -> Result<Option<Mailer>, StartError> {
    Mailer::new(&config_mapping::mail(config)).map_err(|error| StartError::setting(&error))
}

/// Starts relaying commits through NATS. The relay connects in the background and retries, so starting it fails only if the URL is invalid.
/// Returns `None` if NATS is not configured.
///
/// # Errors
/// Returns [`StartError::Setting`] if the URL is invalid.
pub async fn relay(config: &Config) -> Result<Option<(Relay, RelayReceiver)>, StartError> {
    match config.nats.url.as_str() {
        "" => Ok(None),
        url => {
            let connected = Relay::connect(url).await;
            connected
                .map(Some)
                .map_err(|error| StartError::Setting(format!("nats.url: {error}")))
        }
    }
}

/// Resources acquired before the database is opened.
pub struct Acquired {
    pub grpc: TcpListener,
    pub http: TcpListener,
    pub admin: TcpListener,
    pub tls: Option<Tls>,
    pub relay: Option<(Relay, RelayReceiver)>,
    pub storage: Storage,
    pub mailer: Option<Mailer>,
}

impl Acquired {
    /// Acquires all resources.
    ///
    /// # Errors
    /// Returns [`StartError`] if one of them cannot be acquired.
    pub async fn acquire(config: &Config) -> Result<Self, StartError> {
        let grpc = bind("grpc", &config.grpc.addr).await?;
        let http = bind("http", &config.http.addr).await?;
        let admin = bind("admin", &config.admin.addr).await?;
        Ok(Self {
            grpc,
            http,
            admin,
            tls: tls(config)?,
            relay: relay(config).await?,
            storage: file_store(config)?,
            mailer: mailer(config)?,
        })
    }
}
