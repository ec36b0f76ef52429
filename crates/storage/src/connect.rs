//! Connects to the database: pools, the options that make an acknowledged write durable, and the locks taken at start-up.

use std::{os::unix::fs::OpenOptionsExt as _, path::PathBuf, str::FromStr as _, sync::Arc, time::Duration};

use parley_types::error::{Error, is_out_of_space};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};

use super::{connection_errors, dialect::Dialect, outage::Outage};

/// The database to connect to, and the connection limits and timeouts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URL of the database: `sqlite://file.db` or `postgres://…`.
    pub url: String,
    /// Whether to create the SQLite file if it is missing. A `mode` in the URL overrides this setting.
    pub create: bool,
    /// Maximum number of open connections, including both the pools and the connections from [`Database::connect_alone`].
    pub max_connections: u32,
    /// How many of `max_connections` to reserve for [`Database::connect_alone`].
    pub alone: u32,
    /// How long to wait for a connection, whether it is opened or taken from a pool.
    pub connect_timeout: Duration,
    /// Maximum time that PostgreSQL may take for one write; see [`Database::in_time`].
    pub write_timeout: Duration,
}

/// The reason why the database could not be opened. Each variant has a message for the operator and its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL has a scheme other than `sqlite` and `postgres`.
    #[error("database.url is neither sqlite://… nor postgres://…")]
    Url,
    /// The database cannot be reached or opened. The message says what the operator must change.
    #[error("{0}")]
    Refused(String),
    /// The disk that contains the SQLite file is full.
    #[error("not enough disk space to open the database {0}: free some space, or use a larger volume")]
    NoRoom(String),
    /// The connection failed while the database was being opened.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] DbErr),
    /// Another process has locked the SQLite file.
    #[error("another Parley process is using the SQLite file {0}: stop it, or use PostgreSQL to run several processes")]
    Locked(String),
    /// A newer version has migrated the database to a schema that this version does not support.
    #[error("the database is newer than this version of Parley (it has the migration {0}): run the newer version")]
    Newer(String),
    /// Migrations are missing, and this server is configured not to run them.
    #[error("the database is {0} migrations behind this version of Parley: run `parley migrate`, or set database.migrate")]
    Behind(usize),
    /// A migration failed and was rolled back.
    #[error("migrating the database failed: {0}")]
    Migration(#[source] DbErr),
}

/// An open database: one pool of connections for writing and one for reading. Clones share the pools.
#[derive(Clone, Debug)]
pub struct Database {
    write: DatabaseConnection,
    read: DatabaseConnection,
    connect_timeout: Duration,
    write_timeout: Option<Duration>,
    outage: Outage,
    /// The lock file of a SQLite database. The lock is released when the last clone of this value is dropped.
    _lock: Option<Arc<std::fs::File>>,
}

/// A connection that was idle for this long is tested before it is used, so that the first write after a quiet period does not fail because
/// a proxy or a restart of the database has closed the connection.
pub const IDLE: Duration = Duration::from_secs(1);

/// Settings with which PostgreSQL ends the session of a replica that hangs or is unreachable, because the session's locks would block the
/// other replicas. A healthy write pauses for only a few milliseconds between two statements, so ten seconds do not affect it.
const GONE: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "20s"),
];

/// Maximum time to test a connection that returns to its pool. If the server died without closing the connection, no reply ever arrives;
/// without this limit, the connection would occupy its place in the pool until the kernel gives up after about 15 minutes.
const BACK: Duration = Duration::from_secs(5);

impl Database {
    /// Opens the database. A SQLite file is locked, so that no other process can open it.
    ///
    /// # Errors
    /// Returns [`OpenError::Url`] if the scheme is unknown, [`OpenError::Refused`] or [`OpenError::Unreachable`] if the connection fails,
    /// [`OpenError::NoRoom`] if the disk is full, and [`OpenError::Locked`] if another process uses the SQLite file.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        if config.url.starts_with("sqlite:") {
            Self::open_sqlite(config).await
        } else if config.url.starts_with("postgres:") || config.url.starts_with("postgresql:") {
            Self::open_postgres(config).await
        } else {
            Err(OpenError::Url)
        }
    }

    /// Opens the pools: half of the connections are for writing and half for reading. Connections for writing use generic plans: while
    /// batches are small, PostgreSQL would otherwise plan the writer's statement again for every batch, which costs more than executing it.
    async fn open_postgres(config: &Config) -> Result<Self, OpenError> {
        connection_errors::postgres(&config.url, config.connect_timeout)
            .await
            .map_err(OpenError::Refused)?;
        let pooled = config.max_connections.saturating_sub(config.alone);
        let writers = (pooled / 2).max(2);
        let mut write = options(config, writers);
        write.map_sqlx_postgres_opts(|postgres| postgres.options(GONE).options([("plan_cache_mode", "force_generic_plan")]));
        write.test_before_acquire_if_idle_for(IDLE);
        write.map_sqlx_postgres_pool_opts(tried);
        let write = sea_orm::Database::connect(write).await.map_err(OpenError::Unreachable)?;
        let mut read = options(config, pooled.saturating_sub(writers).max(1));
        // Test every connection in the read pool before use, so that a restart of the database causes no failed reads. In the write pool,
        // such a test would cost one round trip per batch, so connections are tested only after an idle period; if a write fails
        // nevertheless, it can be retried with its `request_id`.
        read.test_before_acquire(true);
        read.map_sqlx_postgres_opts(|postgres| postgres.options(GONE));
        read.map_sqlx_postgres_pool_opts(tried);
        let read = sea_orm::Database::connect(read).await.map_err(OpenError::Unreachable)?;
        Ok(Self {
            write,
            read,
            connect_timeout: config.connect_timeout,
            write_timeout: Some(config.write_timeout),
            outage: Outage::default(),
            _lock: None,
        })
    }

    /// Returns whether [`Self::open`] with this configuration would create a SQLite file. Creates nothing.
    ///
    /// # Errors
    /// Returns [`OpenError::Url`] if the URL is malformed, and [`OpenError::Refused`] if the file can neither be used nor created.
    pub fn would_create(config: &Config) -> Result<bool, OpenError> {
        if !config.url.starts_with("sqlite:") || is_in_memory(&config.url) {
            return Ok(false);
        }
        let parsed = SqliteConnectOptions::from_str(&config.url).map_err(|_| OpenError::Url)?;
        let (file, creates) = (parsed.get_filename(), config.create && connection_errors::creates(&config.url));
        connection_errors::sqlite(&config.url, file, creates).map_err(OpenError::Refused)?;
        Ok(creates && !file.exists())
    }

    /// Opens the pools: one connection writes while others read (WAL). The lock on a file next to the database excludes other processes,
    /// because two writers would assign the same sequence numbers.
    async fn open_sqlite(config: &Config) -> Result<Self, OpenError> {
        let parsed = SqliteConnectOptions::from_str(&config.url).map_err(|_| OpenError::Url)?;
        let in_memory = is_in_memory(&config.url);
        let file = parsed.get_filename();
        let lock = if in_memory {
            None
        } else {
            let creates = config.create && connection_errors::creates(&config.url);
            connection_errors::sqlite(&config.url, file, creates).map_err(OpenError::Refused)?;
            let lock = lock_beside(file).await?;
            if creates {
                create_private(file).await?;
            }
            Some(Arc::new(lock))
        };
        let mut write = sqlite_options(config, 1);
        if !in_memory {
            write.map_sqlx_sqlite_pool_opts(|pool| pool.after_release(|connection, _| Box::pin(is_whole(connection))));
        }
        let refused = |error: DbErr| {
            if is_out_of_space(&error) {
                OpenError::NoRoom(file.display().to_string())
            } else {
                OpenError::Refused(connection_errors::sqlite_refusal(file, &error))
            }
        };
        let write = sea_orm::Database::connect(write).await.map_err(refused)?;
        let read = if in_memory {
            write.clone()
        } else {
            sea_orm::Database::connect(sqlite_options(config, config.max_connections.clamp(1, 4)))
                .await
                .map_err(refused)?
        };
        Ok(Self {
            write,
            read,
            connect_timeout: config.connect_timeout,
            write_timeout: None,
            outage: Outage::default(),
            _lock: lock,
        })
    }

    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Returns the SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(&self.write)
    }

    /// Returns the pool for reading.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Returns the pool for writing. On SQLite it has one connection.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Opens a PostgreSQL connection outside of the pools, with the options of the write pool.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the database cannot be reached within the connect timeout, and always on SQLite.
    pub async fn connect_alone(&self) -> Result<sqlx::PgConnection, DbErr> {
        if self.backend() != DbBackend::Postgres {
            return Err(DbErr::Conn(RuntimeErr::Internal("only PostgreSQL has such connections".to_owned())));
        }
        let options = self.write.get_postgres_connection_pool().connect_options();
        let connected = tokio::time::timeout(self.connect_timeout, options.connect()).await;
        connected
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
    }

    /// Returns the name of each pool, followed by its number of connections in use and its number of idle connections.
    pub fn connections(&self) -> [(&'static str, u64, u64); 2] {
        let count = |pool: &DatabaseConnection| {
            let (size, idle) = if self.backend() == DbBackend::Postgres {
                let pool = pool.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            } else {
                let pool = pool.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            };
            let (size, idle) = (u64::from(size), idle as u64);
            (size.saturating_sub(idle), idle)
        };
        let ((write_used, write_idle), (read_used, read_idle)) = (count(&self.write), count(&self.read));
        [("write", write_used, write_idle), ("read", read_used, read_idle)]
    }

    /// Begins a write transaction, which is rolled back if it is dropped without a commit.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if no connection is available.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        // BEGIN IMMEDIATE: a SQLite transaction that starts with a read cannot always be upgraded to a write transaction.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.write.begin_with_options(options).await
    }

    /// Like [`Self::begin`], but returns an sqlx transaction and supports only SQLite.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if no connection is available, and always on PostgreSQL.
    pub async fn begin_sqlite(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, DbErr> {
        let begun = self.sqlite()?.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
    }

    /// Returns the write pool of SQLite, for use with sqlx.
    ///
    /// # Errors
    /// Returns a [`DbErr`] on PostgreSQL.
    pub fn sqlite(&self) -> Result<&sqlx::SqlitePool, DbErr> {
        if self.backend() != DbBackend::Sqlite {
            return Err(DbErr::Conn(RuntimeErr::Internal("only SQLite has such a connection".to_owned())));
        }
        Ok(self.write.get_sqlite_connection_pool())
    }

    /// Awaits the statements of a write. PostgreSQL must complete them within `write_timeout`, because a host that died without closing its
    /// connections never replies. SQLite has no timeout. A write that timed out may have been committed nevertheless.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] after the timeout, and otherwise any error from `asked`.
    pub async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.write_timeout, asked).await
    }

    /// Like [`Self::in_time`] with four times the timeout, for background work that no caller waits for.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::in_time`].
    pub async fn with_long_timeout<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.write_timeout.map(|most| most * 4), asked).await
    }

    /// Returns the shared record of whether the database is currently known to be unavailable.
    pub fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Checks that PostgreSQL replies, over a new connection, so that busy pools do not make the check fail.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if PostgreSQL does not reply, and always on SQLite.
    pub async fn probe(&self) -> Result<(), DbErr> {
        let mut connection = self.connect_alone().await?;
        let answered = sqlx::Connection::ping(&mut connection).await;
        // Only the reply to the ping matters, so errors when closing the connection are ignored.
        let _ = sqlx::Connection::close(connection).await;
        answered.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
    }

    /// Checks that the database replies, over a connection of the read pool.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the database does not reply.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.read
            .query_one_raw(self.dialect().unbound_statement("SELECT 1"))
            .await
            .map(drop)
    }

    /// Closes both pools.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if a connection cannot be closed.
    pub async fn close(self) -> Result<(), DbErr> {
        self.read.close().await?;
        self.write.close().await
    }
}

async fn within<T>(most: Option<Duration>, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Some(most) = most else { return asked.await };
    tokio::time::timeout(most, asked).await.unwrap_or(Err(Error::Unavailable {
        reason: "the database did not respond in time",
        retry_after: Duration::from_secs(1),
    }))
}

/// Configures a pool to test each connection that returns to it, within [`BACK`]. sqlx also tests the connection, but without a timeout.
fn tried(pool: PgPoolOptions) -> PgPoolOptions {
    pool.after_release(|connection, _| {
        Box::pin(async move {
            let answered = tokio::time::timeout(BACK, connection.ping()).await;
            answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
        })
    })
}

fn options(config: &Config, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(&config.url);
    // Disable logging in sqlx: its `log_enabled!` makes tracing drop other events (tokio-rs/tracing#2519). sea-orm's spans remain.
    options
        .sqlx_logging(false)
        .min_connections(1)
        .max_connections(connections)
        .connect_timeout(config.connect_timeout)
        .acquire_timeout(config.connect_timeout)
        .test_before_acquire(false);
    options
}

fn sqlite_options(config: &Config, connections: u32) -> ConnectOptions {
    let mut options = options(config, connections);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .locking_mode(SqliteLockingMode::Normal)
            .foreign_keys(true)
            // Two batches fill the 1,000 pages after which SQLite checkpoints by default, and each checkpoint waits for the disk.
            // Checkpoint only after 32 MiB of log instead.
            .pragma("wal_autocheckpoint", "8192")
            // Batches touch rows all over the file, and SQLite's default cache of 2 MB soon evicts them.
            .pragma("cache_size", "-16384")
            .busy_timeout(Duration::from_secs(5))
    });
    options
}

/// Returns whether a connection that returns to the pool has no open transaction. If it has one, the pool closes the connection, which
/// rolls the transaction back.
///
/// If the disk is full, SQLite itself rolls the transaction back. sqlx then cannot roll the transaction back again and still counts it as
/// open, so the next transaction on this connection would become a savepoint inside it, and the writes of that next transaction might never
/// be committed.
async fn is_whole(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // Wait for the rollback that is queued when a transaction is dropped: the reply to a ping arrives after the rollback.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Returns the file that a `sqlite:` URL names, or `None` for a database in memory or on a server.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (file, options) = rest.split_once('?').unwrap_or((rest, ""));
    let in_memory = file == ":memory:" || options.contains("mode=memory");
    (!file.is_empty() && !in_memory).then(|| file.into())
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

/// The mode of every file that contains data: only the owner of the file can read and write it.
const PRIVATE: u32 = 0o600;

/// Creates the database file if it is missing. `SQLite` itself would create the file with the permissions that the umask leaves, and it
/// gives its journal files the mode of the database file. An existing file keeps the mode that the operator gave it (`parley doctor`
/// reports permissive modes).
async fn create_private(file: &std::path::Path) -> Result<(), OpenError> {
    let made = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(PRIVATE)
        .open(file)
        .await;
    made.map(drop)
        .map_err(|error| OpenError::Refused(format!("database.url: {} cannot be created: {error}", file.display())))
}

/// Locks `<file>.lock`. The lock is held until the returned handle is dropped.
///
/// # Errors
/// Returns [`OpenError::Locked`] while another process holds the lock, and [`OpenError::Refused`] if the lock file cannot be created.
pub async fn lock_beside(file: &std::path::Path) -> Result<std::fs::File, OpenError> {
    let shown = file.display().to_string();
    let mut path = file.as_os_str().to_owned();
    path.push(".lock");
    let shown_lock = std::path::Path::new(&path).display().to_string();
    let io = |error: std::io::Error| {
        OpenError::Refused(format!(
            "database.url: {shown_lock} cannot be created: {error}: this user must be able to write to the folder"
        ))
    };
    let opened = tokio::task::spawn_blocking(move || {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(PRIVATE)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    });
    match opened.await {
        Ok(Ok(Some(file))) => Ok(file),
        Ok(Ok(None)) => Err(OpenError::Locked(shown)),
        Ok(Err(error)) => Err(io(error)),
        Err(error) => Err(OpenError::Unreachable(DbErr::Custom(error.to_string()))),
    }
}
