//! A server with its own database, which most tests start first.

use std::{collections::BTreeMap, process::Command};

use super::{
    api_fixture::ApiFixture,
    clients::Clients,
    database::{Backend, Database},
    http::Http,
    server::{Server, program},
};

/// The administrator's token of every test server.
pub const ADMINISTRATOR: &str = "administrator-of-the-tests-1";

/// The platform token, if a test asks for one.
pub const PLATFORM: &str = "the-operator-of-the-tests-1";

/// The limits that are off unless a test sets them, one per line. The generated requests of `tests/openapi` use the file as well.
const LIMITS_OFF: &str = include_str!("../../support/limits_off.txt");

/// One or more server processes on one database.
#[derive(Debug)]
pub struct TestApp {
    /// The first server.
    pub server: Server,
    /// Further servers on the same database.
    pub replicas: Vec<Server>,
    /// The database of all servers.
    pub database: Database,
    home: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// The configuration with which servers are started.
#[derive(Debug)]
pub struct Builder {
    backend: Backend,
    database: Option<Database>,
    home: Option<tempfile::TempDir>,
    replicas: usize,
    platform: bool,
    program: Command,
    /// For a program of an earlier release: those of [`LIMITS_OFF`] that it knows.
    previous: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
}

impl Builder {
    /// Starts the first server with this command.
    #[allow(dead_code)] // used only by the behaviour tests
    pub fn program(mut self, program: Command) -> Self {
        self.program = program;
        self
    }

    /// Starts the first server with the program of an earlier release. It refuses unknown settings, so `limits` lists those of the
    /// turned-off limits that it knows. After a restart, the server runs the current program with all settings.
    #[allow(dead_code)] // used by the tests of upgrades
    pub fn previous(mut self, program: Command, limits: Vec<String>) -> Self {
        self.previous = Some(limits);
        self.program(program)
    }

    /// Sets an environment variable of the server.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Uses this database instead of an empty one.
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Runs in this folder instead of an empty one.
    #[allow(dead_code)] // used by the tests of upgrades
    pub fn home(mut self, home: tempfile::TempDir) -> Self {
        self.home = Some(home);
        self
    }

    /// Starts this many additional servers on the same database.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Also creates a platform token, which may create accounts, users and tokens.
    pub fn platform(mut self) -> Self {
        self.platform = true;
        self
    }

    /// Starts the servers.
    pub async fn start(self) -> TestApp {
        let home = self.home.unwrap_or_else(|| tempfile::tempdir().expect("a temporary directory"));
        let database = match self.database {
            Some(database) => database,
            None if self.previous.is_some() => Database::create(self.backend).await,
            None => Database::migrated(self.backend).await,
        };
        let mut environment = self.environment;
        // A test may set its own URL, for example to connect through a proxy.
        environment
            .entry("PARLEY_DATABASE_URL".to_owned())
            .or_insert_with(|| database.url());
        environment
            .entry("PARLEY_BOOTSTRAP_TOKEN".to_owned())
            .or_insert_with(|| ADMINISTRATOR.to_owned());
        // Many tests use one conversation and one address; the limits have their own tests.
        for limit in LIMITS_OFF.lines() {
            environment
                .entry(format!("PARLEY_LIMITS_{limit}"))
                .or_insert_with(|| "0".to_owned());
        }
        if self.platform {
            environment.insert("PARLEY_BOOTSTRAP_PLATFORM_TOKEN".to_owned(), PLATFORM.to_owned());
        }
        let mut first = environment.clone();
        if let Some(known) = &self.previous {
            for limit in LIMITS_OFF.lines().filter(|limit| !known.iter().any(|known| known == limit)) {
                first.remove(&format!("PARLEY_LIMITS_{limit}"));
            }
        }
        let server = Server::start_by(self.program, home.path(), &first).await;
        let mut replicas = Vec::new();
        for _ in 0..self.replicas {
            replicas.push(Server::start(home.path(), &environment).await);
        }
        TestApp {
            server,
            replicas,
            database,
            home,
            environment,
        }
    }
}

impl TestApp {
    /// A builder with the default configuration.
    pub fn builder(backend: Backend) -> Builder {
        Builder {
            backend,
            database: None,
            home: None,
            replicas: 0,
            platform: false,
            program: program(),
            previous: None,
            environment: BTreeMap::new(),
        }
    }

    /// Starts a server with the default configuration.
    pub async fn start(backend: Backend) -> Self {
        Self::builder(backend).start().await
    }

    /// Clients of the first server with the administrator's token.
    pub fn clients(&self) -> Clients {
        self.clients_with(ADMINISTRATOR)
    }

    /// Clients of the first server with `token`.
    pub fn clients_with(&self, token: &str) -> Clients {
        Clients::new(&self.server.listeners.grpc, Some(token))
    }

    /// Clients of a replica with the administrator's token.
    pub fn clients_of_replica(&self, index: usize) -> Clients {
        Clients::new(&self.replicas[index].listeners.grpc, Some(ADMINISTRATOR))
    }

    /// Clients of a replica if there is one, otherwise of the first server.
    pub fn clients_elsewhere(&self) -> Clients {
        if self.replicas.is_empty() {
            self.clients()
        } else {
            self.clients_of_replica(0)
        }
    }

    /// Clients with the platform token, which the test must have asked for.
    pub fn platform(&self) -> Clients {
        self.clients_with(PLATFORM)
    }

    /// The first account and inbox, with the administrator's token.
    pub fn fixture(&self) -> ApiFixture {
        ApiFixture::new(self.clients(), 1, 1)
    }

    /// The working directory of the servers, which contains their files.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// A client of the JSON API with the administrator's token.
    pub fn http(&self) -> Http {
        Http::new(&self.server.listeners.http, ADMINISTRATOR)
    }

    /// Kills the first server and restarts it on the same database, on other ports.
    pub async fn crash_and_restart(&mut self) {
        self.server.kill();
        self.start_again().await;
    }

    /// Drains the first server and restarts it on the same database, on other ports.
    pub async fn restart(&mut self) {
        self.server.terminate();
        let status = self.server.wait().await;
        assert!(
            status.success(),
            "a drained server ends with success, not {status}:\n{}",
            self.server.log()
        );
        self.start_again().await;
    }

    /// Restarts the first server after it has exited.
    pub async fn start_again(&mut self) {
        self.server = Server::start(self.home.path(), &self.environment).await;
    }
}
