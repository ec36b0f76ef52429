//! A server with a database of its own: the first line of most tests.

use std::{collections::BTreeMap, process::Command};

use super::{
    clients::Clients,
    database::{Backend, Database},
    http::Http,
    scene::Scene,
    server::{Server, program},
};

/// The administrator's token of every test server.
pub const ADMINISTRATOR: &str = "administrator-of-the-tests-1";

/// The platform token of those that ask for one.
pub const PLATFORM: &str = "the-operator-of-the-tests-1";

/// Limits that are off unless a test sets them, one a line; the generated requests of `tests/openapi` read them too.
const LIMITS_OFF: &str = include_str!("../../support/limits_off.txt");

/// A server process, or several, on one database.
#[derive(Debug)]
pub struct TestApp {
    /// The first of the servers.
    pub server: Server,
    /// Others on the same database.
    pub replicas: Vec<Server>,
    /// What they keep their data in.
    pub database: Database,
    home: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// What a server is started with.
#[derive(Debug)]
pub struct Builder {
    backend: Backend,
    database: Option<Database>,
    home: Option<tempfile::TempDir>,
    replicas: usize,
    platform: bool,
    program: Command,
    /// Of an earlier release: those of [`LIMITS_OFF`] that it knows.
    previous: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
}

impl Builder {
    /// Starts the first server by this command.
    #[allow(dead_code)] // for tests of behaviour alone
    pub fn program(mut self, program: Command) -> Self {
        self.program = program;
        self
    }

    /// Starts the first server by the program of an earlier release. It refuses settings that it does not know, so `limits` says which of the
    /// limits that are off it knows. After a restart it is this release's program, with all settings.
    #[allow(dead_code)] // for the tests of upgrades
    pub fn previous(mut self, program: Command, limits: Vec<String>) -> Self {
        self.previous = Some(limits);
        self.program(program)
    }

    /// Sets a variable of the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs on this database instead of a fresh one.
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Runs in this folder instead of an empty one.
    #[allow(dead_code)] // for the tests of upgrades
    pub fn home(mut self, home: tempfile::TempDir) -> Self {
        self.home = Some(home);
        self
    }

    /// Starts this many further servers on the same database.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Makes a platform token too, which may make accounts, users and tokens.
    pub fn platform(mut self) -> Self {
        self.platform = true;
        self
    }

    /// Starts the server.
    pub async fn start(self) -> TestApp {
        let home = self.home.unwrap_or_else(|| tempfile::tempdir().expect("a temporary directory"));
        let database = match self.database {
            Some(database) => database,
            None if self.previous.is_some() => Database::create(self.backend).await,
            None => Database::migrated(self.backend).await,
        };
        let mut environment = self.environment;
        // A test may lead a server to its database by a way of its own.
        environment
            .entry("PARLEY_DATABASE_URL".to_owned())
            .or_insert_with(|| database.url());
        environment
            .entry("PARLEY_BOOTSTRAP_TOKEN".to_owned())
            .or_insert_with(|| ADMINISTRATOR.to_owned());
        // Whole test suites speak in one conversation and from one address; the limits have tests of their own.
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
    /// What to start with, beginning at the defaults.
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

    /// A server as it is without any setting.
    pub async fn start(backend: Backend) -> Self {
        Self::builder(backend).start().await
    }

    /// Clients of the first server that show the administrator's token.
    pub fn clients(&self) -> Clients {
        self.clients_with(ADMINISTRATOR)
    }

    /// Clients of the first server that show `token`.
    pub fn clients_with(&self, token: &str) -> Clients {
        Clients::new(&self.server.doors.grpc, Some(token))
    }

    /// Clients of a replica that show the administrator's token.
    pub fn clients_of_replica(&self, index: usize) -> Clients {
        Clients::new(&self.replicas[index].doors.grpc, Some(ADMINISTRATOR))
    }

    /// Clients of another replica where there is one, else of the first server.
    pub fn clients_elsewhere(&self) -> Clients {
        if self.replicas.is_empty() {
            self.clients()
        } else {
            self.clients_of_replica(0)
        }
    }

    /// Clients that show the platform token. The test must have asked for one.
    pub fn platform(&self) -> Clients {
        self.clients_with(PLATFORM)
    }

    /// The first account and inbox, through the administrator's eyes.
    pub fn scene(&self) -> Scene {
        Scene::new(self.clients(), 1, 1)
    }

    /// Where the servers run: what they keep in files lies there.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// The JSON API, with the administrator's token.
    pub fn http(&self) -> Http {
        Http::new(&self.server.doors.http, ADMINISTRATOR)
    }

    /// Ends the first server without warning, and starts it again on the same database, on other ports.
    pub async fn crash_and_restart(&mut self) {
        self.server.kill();
        self.start_again().await;
    }

    /// Drains the first server, and starts it again on the same database, on other ports.
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

    /// Starts the first server again after it has ended.
    pub async fn start_again(&mut self) {
        self.server = Server::start(self.home.path(), &self.environment).await;
    }
}
