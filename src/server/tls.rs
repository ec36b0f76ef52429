//! TLS for the listeners, with certificates that are reloaded when their files change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::background_jobs::ticks;
use crate::config;

/// How often the certificate and key files are checked for changes. Kubernetes updates mounted Secrets within about a minute.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The current certificate, shared by all listeners with TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<Files>,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The authorities that sign client certificates. `None` if client certificates are not required.
    client_ca: Option<PathBuf>,
}

impl Tls {
    /// Loads the certificate and key files. Returns `None` if no certificate is configured.
    ///
    /// # Errors
    /// Returns an error that names the setting if a file cannot be read or used.
    pub fn open(config: &config::Tls) -> anyhow::Result<Option<Self>> {
        if config.cert_file.is_empty() {
            return Ok(None);
        }
        let files = Files {
            certificate: config.cert_file.clone().into(),
            key: config.key_file.clone().into(),
            client_ca: Some(&config.client_ca_file).filter(|file| !file.is_empty()).map(PathBuf::from),
        };
        let current = Arc::new(RwLock::new(Arc::new(files.load()?)));
        Ok(Some(Self {
            files: Arc::new(files),
            current,
        }))
    }

    /// Returns an acceptor for the next connection, with the current certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reloads the files whenever they change, until `stop` is cancelled. If the new files cannot be used, logs a warning and keeps the
    /// previous certificate.
    pub async fn reload_on_change(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut known = self.files.digest();
        let mut ticks = ticks(CHECK_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let files = Arc::clone(&self.files);
            let (digest, loaded) = tokio::task::spawn_blocking(move || (files.digest(), files.load())).await?;
            if digest == known {
                continue;
            }
            match loaded {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    known = digest;
                    tracing::info!(file = %self.files.certificate.display(), "reloaded the TLS certificate");
                }
                // This is expected to happen briefly, because certificate and key are not replaced atomically.
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "failed to load the new TLS certificate; keeping the old one"
                ),
            }
        }
        Ok(())
    }
}

impl Files {
    /// Returns a hash of the files' contents, which detects changes regardless of modification times.
    fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = Sha256::new();
        for file in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
        {
            digest.update(fs::read(file).ok()?);
        }
        Some(digest.finalize().into())
    }

    fn load(&self) -> anyhow::Result<ServerConfig> {
        let chain = certificates(&self.certificate).with_context(|| format!("tls.cert_file = {}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("tls.key_file = {}", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let named = || format!("tls.client_ca_file = {}", file.display());
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file).with_context(named)? {
                    roots.add(certificate).with_context(named)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().with_context(named)?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .context("tls.cert_file and tls.key_file do not match")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "contains no certificate").into());
    }
    Ok(found)
}
