//! What a server needs before it touches its database: addresses, certificates, and what the configuration names besides.
//!
//! All of it is acquired first. A server that cannot start leaves an empty database empty, and so the first administrator's token, which is
//! stored as a hash only, is created by a start that succeeds and prints it.

use parley_blobs::Storage;
use parley_domain::mail::Mailer;
use parley_eventlog::nats::{Relay, Relaying};
use tokio::net::TcpListener;

use super::{listeners, rooms, tls::Tls};
use crate::config::Config;

/// Why a server does not start, apart from its database. Each sentence names the setting to change, and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be bound.
    #[error("{listener}.addr = {address} cannot be bound: {}", unbindable(.listener, *.in_use, .source))]
    Listen {
        /// `grpc`, `http` or `admin`.
        listener: &'static str,
        /// The address as it is configured.
        address: String,
        /// Whether somebody else has it.
        in_use: bool,
        /// What the system says.
        source: std::io::Error,
    },
    /// A setting cannot be used as it is.
    #[error("{0}")]
    Setting(String),
}

fn unbindable(listener: &str, in_use: bool, source: &std::io::Error) -> String {
    if in_use {
        format!("another program listens there: stop it, or choose another address (--{listener}-addr)")
    } else {
        source.to_string()
    }
}

impl StartError {
    /// A setting that cannot be used, for a reason that names it.
    fn setting(error: &anyhow::Error) -> Self {
        Self::Setting(format!("{error:#}"))
    }
}

/// Binds an address. From then on connections queue in the listener until somebody accepts them.
///
/// # Errors
/// [`StartError::Listen`].
pub async fn bind(listener: &'static str, address: &str) -> Result<TcpListener, StartError> {
    listeners::listen(address).await.map_err(|source| StartError::Listen {
        listener,
        address: address.to_owned(),
        in_use: source.kind() == std::io::ErrorKind::AddrInUse,
        source,
    })
}

/// The certificates of the listeners; none without TLS.
///
/// # Errors
/// [`StartError::Setting`].
pub fn tls(config: &Config) -> Result<Option<Tls>, StartError> {
    Tls::open(&config.tls).map_err(|error| StartError::setting(&error))
}

/// Where files are stored. It is opened later: a place that is away only keeps uploads from working.
///
/// # Errors
/// [`StartError::Setting`].
pub fn storage(config: &Config) -> Result<Storage, StartError> {
    Storage::new(&rooms::storage(config)).map_err(|error| StartError::setting(&error))
}

/// What sends mails; none without a server for them. It connects when there is a mail.
///
/// # Errors
/// [`StartError::Setting`].
pub fn mailer(config: &Config) -> Result<Option<Mailer>, StartError> {
    Mailer::new(&rooms::mail(config)).map_err(|error| StartError::setting(&error))
}

/// What carries commits by NATS; none without it. It connects by itself and retries, so it fails for a URL that cannot be read.
///
/// # Errors
/// [`StartError::Setting`].
pub async fn relay(config: &Config) -> Result<Option<(Relay, Relaying)>, StartError> {
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

/// What a server holds before it opens its database.
pub struct Acquired {
    pub grpc: TcpListener,
    pub http: TcpListener,
    pub admin: TcpListener,
    pub tls: Option<Tls>,
    pub relay: Option<(Relay, Relaying)>,
    pub storage: Storage,
    pub mailer: Option<Mailer>,
}

impl Acquired {
    /// Acquires all of it.
    ///
    /// # Errors
    /// [`StartError`].
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
            storage: storage(config)?,
            mailer: mailer(config)?,
        })
    }
}
