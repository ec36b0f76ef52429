//! A database for one test: created empty, removed when dropped.

use std::{
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection, postgres::PgConnectOptions,
};
use tokio::sync::OnceCell;

use super::{
    cluster::{Cluster, Durability},
    server::program,
};

/// The database that a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The PostgreSQL server of ordinary tests: `TEST_POSTGRES_URL`, or a private cluster of this process that does not sync to disk.
///
/// The URL names a database that serves as the connection for creating others.
fn shared_url() -> String {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Durability::None));
    std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| CLUSTER.url("postgres"))
}

/// The database of a test.
#[derive(Debug)]
pub enum Database {
    /// A file in its own directory.
    Sqlite(tempfile::TempDir),
    /// A database of a PostgreSQL cluster.
    Postgres {
        /// The URL of the database.
        url: String,
        /// The name of the database and the URL of the cluster, for dropping it.
        drop: Option<(String, String)>,
    },
}

impl Database {
    /// Creates an empty database.
    pub async fn create(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::Sqlite(tempfile::tempdir().expect("a temporary directory")),
            Backend::Postgres => {
                let admin = tokio::task::spawn_blocking(shared_url).await.expect("the cluster starts");
                Self::create_from(&admin, None).await
            }
        }
    }

    /// Creates a database with the current tables and no rows, by copying one: on PostgreSQL, creating the tables takes most of a server's
    /// first start.
    pub async fn migrated(backend: Backend) -> Self {
        static FILE: OnceCell<Vec<u8>> = OnceCell::const_new();
        static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
        match backend {
            Backend::Sqlite => {
                let file = FILE.get_or_init(|| async {
                    let template = Self::create_and_migrate(backend).await;
                    std::fs::read(template.file()).expect("the file is there")
                });
                let (file, database) = (file.await, Self::create(backend).await);
                std::fs::write(database.file(), file).expect("there is room");
                database
            }
            // Nothing would remove the template from an external server.
            Backend::Postgres if std::env::var_os("TEST_POSTGRES_URL").is_some() => Self::create(backend).await,
            Backend::Postgres => TEMPLATE.get_or_init(|| Self::create_and_migrate(backend)).await.copy().await,
        }
    }

    async fn create_and_migrate(backend: Backend) -> Self {
        let database = Self::create(backend).await;
        let mut migrate = program();
        migrate.arg("migrate").env("PARLEY_DATABASE_URL", database.url());
        let ended = tokio::task::spawn_blocking(move || migrate.output());
        let output = ended.await.expect("no panic").expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        database
    }

    /// An existing database, which the caller removes.
    #[allow(dead_code)] // used by the durability tests
    pub fn at(url: String) -> Self {
        Self::Postgres { url, drop: None }
    }

    /// A copy of the current state. No server may have the database open.
    pub async fn copy(&self) -> Self {
        match self {
            Self::Sqlite(home) => {
                let copy = tempfile::tempdir().expect("a temporary directory");
                for entry in std::fs::read_dir(home.path()).expect("the directory is ours") {
                    let entry = entry.expect("the directory is ours");
                    std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("there is room");
                }
                Self::Sqlite(copy)
            }
            Self::Postgres {
                drop: Some((name, admin)), ..
            } => Self::create_from(admin, Some(name)).await,
            Self::Postgres { .. } => panic!("only what a test made is copied"),
        }
    }

    async fn create_from(admin: &str, template: Option<&str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        execute(
            admin,
            &format!("CREATE DATABASE {name} TEMPLATE {}", template.unwrap_or("template1")),
        )
        .await;
        let options: PgConnectOptions = admin.parse().expect("the cluster's address is a URL");
        Self::Postgres {
            url: options.database(&name).to_url_lossy().to_string(),
            drop: Some((name, admin.to_owned())),
        }
    }

    /// The URL for the server.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite://{}?mode=rwc", self.file().display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    /// Runs one statement, even while servers have the database open.
    pub async fn run(&self, statement: &str) {
        match self {
            Self::Postgres { url, .. } => execute(url, statement).await,
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.expect("the file is there");
                let done = connection.execute(AssertSqlSafe(statement.to_owned())).await;
                done.unwrap_or_else(|error| panic!("{statement}: {error}"));
                connection.close().await.expect("the connection closes");
            }
        }
    }

    /// The number that a query returns, even while servers have the database open.
    pub async fn number(url: &str, query: &'static str) -> i64 {
        let number = if url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(url).await.expect("the file is there");
            sqlx::query_scalar(query).fetch_one(&mut connection).await
        } else {
            let mut connection = PgConnection::connect(url).await.expect("the server is there");
            sqlx::query_scalar(query).fetch_one(&mut connection).await
        };
        number.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The file of a SQLite database.
    pub fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(home) => home.path().join("parley.db"),
            Self::Postgres { .. } => panic!("a PostgreSQL database is no file"),
        }
    }
}

/// Runs one statement on a PostgreSQL database.
pub async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url)
        .await
        .unwrap_or_else(|error| panic!("PostgreSQL at {url}: {error}"));
    if let Err(error) = connection.execute(AssertSqlSafe(statement.to_owned())).await {
        panic!("{statement}: {error}");
    }
    connection.close().await.expect("the connection closes");
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres {
            drop: Some((name, admin)), ..
        } = self
        {
            let (name, admin) = (name.clone(), admin.clone());
            // Use a separate runtime, because the test's may be shutting down.
            let dropping = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(execute(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
            });
            let _ = dropping.join();
        }
    }
}
