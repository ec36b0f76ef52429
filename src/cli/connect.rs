//! How the commands of a client reach a running service.

use std::{fs, path::PathBuf};

use parley_client::{Server, Trust};
use tonic::Status;

use super::{Exit, complain, refusal};

/// Which service, and as whom. Accepted before and after a subcommand.
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
    /// The token to show
    #[arg(long, global = true, env = "PARLEY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What TLS rests on, for addresses that begin with https.
#[derive(Debug, Default, clap::Args)]
pub struct TrustArgs {
    /// Who signs the service's certificate, a PEM file; by default the system's authorities
    #[arg(long, global = true, env = "PARLEY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The name in the service's certificate, where it is not the address's
    #[arg(long, global = true, env = "PARLEY_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// The certificate to show, a PEM file
    #[arg(long, global = true, env = "PARLEY_CLIENT_CERT_FILE", value_name = "FILE")]
    client_cert_file: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, global = true, env = "PARLEY_CLIENT_KEY_FILE", value_name = "FILE")]
    client_key_file: Option<PathBuf>,
}

impl TrustArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the file or the option.
    pub fn read(&self) -> Result<Trust, String> {
        let text = |file: &PathBuf| fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
        let identity = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((text(certificate)?, text(key)?)),
            (None, None) => None,
            _ => return Err("--client-cert-file and --client-key-file must be given together".to_owned()),
        };
        Ok(Trust {
            ca: self.ca_file.as_ref().map(text).transpose()?,
            name: self.server_name.clone(),
            identity,
        })
    }
}

impl Target {
    /// The service, which is connected to when it is first used. What is wrong with the options is printed.
    ///
    /// # Errors
    /// The exit code, when the address, the token or a file has the wrong form.
    pub fn open(&self) -> Result<Server, Exit> {
        self.server().map_err(|sentence| {
            complain(&sentence);
            Exit::Usage
        })
    }

    fn server(&self) -> Result<Server, String> {
        check_url(&self.server)?;
        let token = self.token.as_deref().filter(|token| !token.is_empty()).ok_or(
            "no token: give --token or set PARLEY_TOKEN. Where the database is, `parley token create --offline --kind user` creates one \
             for the administrator",
        )?;
        Server::connect_with(&self.server, token, &self.trust.read()?)
    }

    /// Prints why the service refused or could not be reached, and what to change.
    pub async fn explain(&self, status: &Status) -> Exit {
        refusal::explain(status, &self.server).await
    }

    /// The result of a command as its exit code, with what went wrong printed.
    pub async fn done(&self, result: Result<(), Status>) -> Exit {
        match result {
            Ok(()) => Exit::Ok,
            Err(status) => self.explain(&status).await,
        }
    }

    /// The address, for a command line that continues.
    pub fn url(&self) -> &str {
        &self.server
    }
}

/// Whether an address has a scheme and a host.
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
    fn an_address_needs_a_scheme_that_grpc_has() {
        for good in ["http://127.0.0.1:50051", "https://chat.example.org", "http://[::1]:50051/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (bad, hint) in [
            ("127.0.0.1:50051", "such as http://127.0.0.1:50051"),
            ("grpc://host:1", "not grpc://"),
            ("http://", "name a host"),
            ("http://:50051", "name a host"),
        ] {
            let sentence = check_url(bad).unwrap_err();
            assert!(sentence.contains(hint), "{bad}: {sentence}");
        }
    }
}
