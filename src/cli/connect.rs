//! How the commands of a client reach a running service.

use std::{fs, path::PathBuf};

use crate::client::{Server, Trust};

/// Which service, and as whom.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The service's gRPC address
    #[arg(long, env = "PARLEY_SERVER", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    server: String,
    /// The token to show
    #[arg(long, env = "PARLEY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What TLS rests on, for addresses that begin with https.
#[derive(Debug, Default, clap::Args)]
pub struct TrustArgs {
    /// Who signs the service's certificate, a PEM file; by default the system's authorities
    #[arg(long, env = "PARLEY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The name in the service's certificate, where it is not the address's
    #[arg(long, env = "PARLEY_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// The certificate to show, a PEM file
    #[arg(long, env = "PARLEY_CLIENT_CERT_FILE", value_name = "FILE", requires = "client_key_file")]
    client_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, env = "PARLEY_CLIENT_KEY_FILE", value_name = "FILE", requires = "client_cert_file")]
    client_key_file: Option<PathBuf>,
}

impl TrustArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(&self) -> Result<Trust, String> {
        let text = |file: &PathBuf| fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
        let identity = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((text(certificate)?, text(key)?)),
            _ => None,
        };
        Ok(Trust {
            ca: self.ca_file.as_ref().map(text).transpose()?,
            name: self.server_name.clone(),
            identity,
        })
    }
}

impl Target {
    /// The service, which is connected to when it is first used.
    ///
    /// # Errors
    /// A sentence, when the address, the token or a file has the wrong form.
    pub fn open(&self) -> Result<Server, String> {
        Server::connect_with(&self.server, &self.token, &self.trust.read()?)
    }
}
