//! The program under test, in a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// The administrator's token.
const TOKEN: &str = "bench-administrator-token-0001";
/// The operator's token, which creates accounts.
const PLATFORM_TOKEN: &str = "bench-platform-operator-token-01";

/// A running server, killed on drop.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: String,
    http: String,
}

impl Server {
    /// Starts the optimised binary on an empty database, with default settings except that the limit on messages per conversation is
    /// disabled.
    pub fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[])
    }

    /// Same as [`Self::start`], with additional settings.
    pub fn start_with(database_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_parley"))
            .arg("serve")
            .env("PARLEY_DATABASE_URL", database_url)
            .env("PARLEY_GRPC_ADDR", "127.0.0.1:0")
            .env("PARLEY_HTTP_ADDR", "127.0.0.1:0")
            .env("PARLEY_ADMIN_ADDR", "127.0.0.1:0")
            .env("PARLEY_BOOTSTRAP_TOKEN", TOKEN)
            .env("PARLEY_BOOTSTRAP_PLATFORM_TOKEN", PLATFORM_TOKEN)
            .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "0")
            .env("PARLEY_LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(process.stderr.take().expect("the output is piped")).lines();
        let (sender, listeners) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                    // Release 0.1.0 names the listener in the field `door`.
                    let name = if entry["listener"].is_null() {
                        text("door")
                    } else {
                        text("listener")
                    };
                    // Fails only if the receiver was dropped.
                    let _ = sender.send((name, text("address")));
                } else if entry["level"] != "INFO" {
                    eprintln!("  server: {line}");
                }
            }
        });
        let (mut grpc, mut http) = (String::new(), String::new());
        while grpc.is_empty() || http.is_empty() {
            let listener = listeners
                .recv_timeout(Duration::from_mins(1))
                .expect("the server listens within a minute");
            match listener {
                (name, address) if name == "grpc" => grpc = address,
                (name, address) if name == "http" => http = address,
                _ => {}
            }
        }
        Self {
            process,
            address: grpc,
            http,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The base URL of the REST gateway, `http://host:port`.
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Opens a new connection.
    pub async fn connect(&self) -> Channel {
        connect(&self.address).await
    }

    /// Opens several new connections.
    pub async fn connections(&self, count: usize) -> Vec<Channel> {
        connections(&self.address, count).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Opens a new connection to `host:port`.
pub async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("the address of a listener is valid");
    endpoint.connect().await.expect("the server accepts connections")
}

/// Opens several new connections to `host:port`.
pub async fn connections(address: &str, count: usize) -> Vec<Channel> {
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(connect(address).await);
    }
    channels
}

/// Creates a request with the administrator's token.
pub fn authorized<T>(message: T) -> Request<T> {
    with_token(message, TOKEN)
}

/// Creates an HTTP client that sends the administrator's token with every request.
pub fn http_client() -> reqwest::Client {
    // reqwest requires a process-wide TLS provider even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("api-access-token", reqwest::header::HeaderValue::from_static(TOKEN));
    let client = reqwest::Client::builder().default_headers(headers).build();
    client.expect("the HTTP client can be built")
}

/// Creates a request with the operator's token.
pub fn with_platform_token<T>(message: T) -> Request<T> {
    with_token(message, PLATFORM_TOKEN)
}

fn with_token<T>(message: T, token: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    let token: MetadataValue<Ascii> = MetadataValue::from_static(token);
    request.metadata_mut().insert("api_access_token", token);
    request
}
