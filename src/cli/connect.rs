//! Connection options for the client commands.

use std::{fs, path::PathBuf};

use parley_client::{Server, TlsSettings};
use tonic::Status;

use super::{Exit, call_error, print_error};

/// Options that select the service and provide the credentials. They are accepted both before and after a subcommand.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The service's gRPC address
    #[arg(
        long,
        global = true,
        env = "PARLEY_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    server: String,
    /// The token for authentication
    #[arg(long, global = true, env = "PARLEY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// TLS options, for addresses that begin with https.
#[derive(Debug, Default, clap::Args)]
pub struct TrustArgs {
    /// PEM file with the CA certificates that verify the service's certificate (default: the system's)
    #[arg(long, global = true, env = "PARLEY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name in the service's certificate, if it differs from the address
    #[arg(long, global = true, env = "PARLEY_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// PEM file with the client certificate
    #[arg(long, global = true, env = "PARLEY_CLIENT_CERT_FILE", value_name = "FILE")]
    client_cert_file: Option<PathBuf>,
    /// PEM file with the private key of the client certificate
    #[arg(long, global = true, env = "PARLEY_CLIENT_KEY_FILE", value_name = "FILE")]
    client_key_file: Option<PathBuf>,
}

impl TrustArgs {
    /// Reads the certificate and key files that the options name.
    ///
    /// # Errors
    /// Returns a message that names the file that cannot be read, or the option that is missing.
    pub fn read(&self) -> Result<TlsSettings, String> {
        let text = |file: &PathBuf| fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
        let identity = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((text(certificate)?, text(key)?)),
            (None, None) => None,
            _ => return Err("--client-cert-file and --client-key-file must be used together".to_owned()),
        };
        Ok(TlsSettings {
            ca: self.ca_file.as_ref().map(text).transpose()?,
            name: self.server_name.clone(),
            identity,
        })
    }
}

impl Target {
    /// Returns a handle to the service; the first call establishes the connection. Prints an error if an option is invalid.
    ///
    /// # Errors
    /// Returns [`Exit::Usage`] if the address, the token or a file is invalid.
    pub fn open(&self) -> Result<Server, Exit> {
        self.server().map_err(|message| {
            print_error(&message);
            Exit::Usage
        })
    }

    fn server(&self) -> Result<Server, String> {
        check_url(&self.server)?;
        let token = self.token.as_deref().filter(|token| !token.is_empty()).ok_or(
            "no token: pass --token or set PARLEY_TOKEN. On the host of the database, `parley token create --offline --kind user` creates one \
             for the administrator",
        )?;
        Server::connect_with(&self.server, token, &self.trust.read()?)
    }

    /// Prints why a call failed and how to fix it, and returns the exit code.
    pub async fn explain(&self, status: &Status) -> Exit {
        call_error::explain(status, &self.server).await
    }

    /// Converts the result of a command to its exit code. Prints the error if it failed.
    pub async fn done(&self, result: Result<(), Status>) -> Exit {
        match result {
            Ok(()) => Exit::Ok,
            Err(status) => self.explain(&status).await,
        }
    }

    /// Returns the address of the service, for use in a command line that resumes this one.
    pub fn url(&self) -> &str {
        &self.server
    }
}

/// Checks that the service's address has a supported scheme and a host.
fn check_url(url: &str) -> Result<(), String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("--server must begin with http:// or https://, such as http://{url}"));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(format!(
            "--server must begin with http:// or https://, not {scheme}://, such as http://{rest}"
        ));
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err("--server must name a host, such as http://127.0.0.1:50051".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_requires_http_or_https() {
        for good in ["http://127.0.0.1:50051", "https://chat.example.org", "http://[::1]:50051/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (bad, hint) in [
            ("127.0.0.1:50051", "such as http://127.0.0.1:50051"),
            ("grpc://host:1", "not grpc://"),
            ("http://", "name a host"),
            ("http://:50051", "name a host"),
        ] {
            let message = check_url(bad).unwrap_err();
            assert!(message.contains(hint), "{bad}: {message}");
        }
    }
}
