//! Command-line flags that override the server's configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, FlagValue, Sources};

/// Flags that override the environment variables and the configuration file.
#[derive(Debug, Default, Args)]
pub struct Settings {
    #[arg(long, value_name = "FILE", help = "A TOML file with settings [env: PARLEY_CONFIG]")]
    config: Option<PathBuf>,
    /// Address of the gRPC listener, host:port
    #[arg(long, value_name = "ADDR")]
    grpc_addr: Option<String>,
    /// Address of the JSON API's listener, host:port
    #[arg(long, value_name = "ADDR")]
    http_addr: Option<String>,
    /// Address of the operators' listener, host:port
    #[arg(long, value_name = "ADDR")]
    admin_addr: Option<String>,
    #[arg(long, value_name = "URL", help = "sqlite://FILE or postgres://…")]
    database_url: Option<String>,
    /// Any other setting, such as writer.shards=4; can be repeated
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be table.key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl Settings {
    /// Loads the configuration from these flags and the process environment.
    pub(super) fn load(self) -> Result<Config, ConfigError> {
        Config::load(&self.with_environment())
    }

    /// Combines these flags with the process environment.
    pub(super) fn with_environment(self) -> Sources {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        self.sources(environment)
    }

    pub(super) fn sources(self, environment: Vec<(String, String)>) -> Sources {
        let generic = self.set.into_iter().map(|(key, value)| FlagValue {
            flag: "--set".to_owned(),
            key,
            value,
        });
        let named = [
            ("--grpc-addr", "grpc.addr", self.grpc_addr),
            ("--http-addr", "http.addr", self.http_addr),
            ("--admin-addr", "admin.addr", self.admin_addr),
            ("--database-url", "database.url", self.database_url),
        ];
        let named = named.into_iter().filter_map(|(flag, key, value)| {
            let (flag, key) = (flag.to_owned(), key.to_owned());
            value.map(|value| FlagValue { flag, key, value })
        });
        Sources {
            file: self.config,
            environment,
            flags: generic.chain(named).collect(),
        }
    }
}
