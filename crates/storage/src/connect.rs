//! Reaching the database: pools, the options that make an acknowledged write durable, the locks of start-up.

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

use super::{dialect::Dialect, outage::Outage, reach};

/// Where the database is and how much of it to use.
#[derive(Clone, Debug)]
pub struct Config {
    /// `sqlite://file.db` or `postgres://…`.
    pub url: String,
    /// Whether a SQLite file that is missing is created, unless the URL has another mode.
    pub create: bool,
    /// Connections that may be held open, pools and those of [`Database::connect_alone`] together.
    pub max_connections: u32,
    /// How many will ask for a connection of their own.
    pub alone: u32,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for what PostgreSQL is to do for one write.
    pub write_timeout: Duration,
}

/// Why the database could not be opened. Each is a plain sentence with an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is no address of a database that Parley knows.
    #[error("database.url is neither sqlite://… nor postgres://…")]
    Url,
    /// It cannot be reached or opened, with what to change.
    #[error("{0}")]
    Refused(String),
    /// The disk of the SQLite file is full.
    #[error("the disk has no room to open the database {0}: make room, or give it a larger volume")]
    NoRoom(String),
    /// It stopped answering while it was opened.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] DbErr),
    /// Another process has the SQLite file.
    #[error("another parley is using the SQLite file {0}: stop it, or use PostgreSQL for several processes")]
    Locked(String),
    /// A newer Parley has migrated it, to tables that this one does not work on.
    #[error("the database is newer than this parley (it has seen the migration {0}): run the newer version")]
    Newer(String),
    /// It lacks migrations, and this server is not to run them.
    #[error("the database is {0} migrations behind this parley: run `parley migrate`, or set database.migrate")]
    Behind(usize),
    /// A migration failed; nothing of it was kept.
    #[error("migrating the database failed: {0}")]
    Migration(#[source] DbErr),
}

/// An open database.
#[derive(Clone, Debug)]
pub struct Database {
    write: DatabaseConnection,
    read: DatabaseConnection,
    connect_timeout: Duration,
    write_timeout: Option<Duration>,
    outage: Outage,
    /// The lock beside a SQLite file: it goes with the handle, and the handle with the last clone of this.
    _lock: Option<Arc<std::fs::File>>,
}

/// A connection that was not used for so long is tried before it is: a proxy or a restart may have ended it, and whoever writes
/// after a quiet night should not be told to try again.
pub const IDLE: Duration = Duration::from_secs(1);

/// After how long PostgreSQL gives up a session whose replica stands still or was cut off from it: what it has locked would hold up the
/// others. No write here waits between two statements for longer than a few milliseconds.
const GONE: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "20s"),
];

/// How long a connection that comes back to its pool may take to say that it is good. One whose other end died silently says nothing:
/// without this bound it would keep its place until the system gives it up, a quarter of an hour later.
const BACK: Duration = Duration::from_secs(5);

impl Database {
    /// Opens the database. A SQLite file is locked for this process alone.
    ///
    /// # Errors
    /// [`OpenError::Url`], [`OpenError::Refused`], [`OpenError::Unreachable`], [`OpenError::Locked`].
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        if config.url.starts_with("sqlite:") {
            Self::open_sqlite(config).await
        } else if config.url.starts_with("postgres:") || config.url.starts_with("postgresql:") {
            Self::open_postgres(config).await
        } else {
            Err(OpenError::Url)
        }
    }

    /// Half of the connections write, half read. Those that write plan each statement once: planning the writer's one
    /// statement anew for each batch would cost more than running it, and PostgreSQL does so while batches are small.
    async fn open_postgres(config: &Config) -> Result<Self, OpenError> {
        reach::postgres(&config.url, config.connect_timeout)
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
        // After a restart of the database a reader should not be told so: connections are tried before they are used. Trying
        // each would cost a writer a round trip a batch, so those are tried after a pause; a writer who is told to try again has
        // a request id for that.
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

    /// Whether opening it with these settings would create a SQLite file. Nothing is created.
    ///
    /// # Errors
    /// [`OpenError::Refused`] for a file that can neither be used nor created.
    pub fn would_create(config: &Config) -> Result<bool, OpenError> {
        if !config.url.starts_with("sqlite:") || is_in_memory(&config.url) {
            return Ok(false);
        }
        let parsed = SqliteConnectOptions::from_str(&config.url).map_err(|_| OpenError::Url)?;
        let (file, creates) = (parsed.get_filename(), config.create && reach::creates(&config.url));
        reach::sqlite(&config.url, file, creates).map_err(OpenError::Refused)?;
        Ok(creates && !file.exists())
    }

    /// One connection writes, others read beside it (WAL). An advisory lock on a file beside the database keeps other
    /// processes out, because two writers would each believe that they alone hand out sequence numbers.
    async fn open_sqlite(config: &Config) -> Result<Self, OpenError> {
        let parsed = SqliteConnectOptions::from_str(&config.url).map_err(|_| OpenError::Url)?;
        let in_memory = is_in_memory(&config.url);
        let file = parsed.get_filename();
        let lock = if in_memory {
            None
        } else {
            let creates = config.create && reach::creates(&config.url);
            reach::sqlite(&config.url, file, creates).map_err(OpenError::Refused)?;
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
                OpenError::Refused(reach::sqlite_refusal(file, &error))
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

    /// Which database it is.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// The SQL dialect that it speaks.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(&self.write)
    }

    /// Connections for reading.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Connections for writing. On SQLite there is one.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// A connection of its own to PostgreSQL, beside the pools and with the options of those that write.
    ///
    /// # Errors
    /// When the database cannot be reached in time; always, on SQLite.
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

    /// The pools by name: connections in use, and idle ones.
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

    /// Begins a transaction that writes. Whoever begins it commits it; dropped, it is rolled back.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        // Immediate: a SQLite transaction that starts by reading cannot always turn into one that writes.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.write.begin_with_options(options).await
    }

    /// Begins a transaction that writes to SQLite, by sqlx alone. As [`Self::begin`] otherwise.
    ///
    /// # Errors
    /// When there is no connection; always, on PostgreSQL.
    pub async fn begin_sqlite(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, DbErr> {
        let begun = self.sqlite()?.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
    }

    /// The connection of SQLite that writes.
    ///
    /// # Errors
    /// Always, on PostgreSQL.
    pub fn sqlite(&self) -> Result<&sqlx::SqlitePool, DbErr> {
        if self.backend() != DbBackend::Sqlite {
            return Err(DbErr::Conn(RuntimeErr::Internal("only SQLite has such a connection".to_owned())));
        }
        Ok(self.write.get_sqlite_connection_pool())
    }

    /// What a write asks of PostgreSQL, given up after `write_timeout`: a host that died silently never answers, and whoever waited for
    /// it would wait for good. A file is waited for as long as it takes. What was given up may still have been done.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it took too long; what was asked returns.
    pub async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.write_timeout, asked).await
    }

    /// The same for what goes on behind the doors, where nobody waits: four times as long.
    ///
    /// # Errors
    /// As [`Self::in_time`].
    pub async fn with_long_timeout<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        within(self.write_timeout.map(|most| most * 4), asked).await
    }

    /// Whether it is known to be away.
    pub fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Asks the database for an answer over a connection of its own: pools whose connections are all busy do not count.
    ///
    /// # Errors
    /// When there is none; always, on SQLite.
    pub async fn probe(&self) -> Result<(), DbErr> {
        let mut connection = self.connect_alone().await?;
        let answered = sqlx::Connection::ping(&mut connection).await;
        // The answer is what counts.
        let _ = sqlx::Connection::close(connection).await;
        answered.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
    }

    /// Asks the database for an answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.read
            .query_one_raw(self.dialect().unbound_statement("SELECT 1"))
            .await
            .map(drop)
    }

    /// Closes the connections.
    ///
    /// # Errors
    /// When one cannot be closed.
    pub async fn close(self) -> Result<(), DbErr> {
        self.read.close().await?;
        self.write.close().await
    }
}

async fn within<T>(most: Option<Duration>, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Some(most) = most else { return asked.await };
    tokio::time::timeout(most, asked).await.unwrap_or(Err(Error::Unavailable {
        reason: "the database did not answer in time",
        retry_after: Duration::from_secs(1),
    }))
}

/// Tries what comes back to a pool, within [`BACK`]. sqlx does so too, and waits for the answer for as long as it takes.
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
    // `log_enabled!` in sqlx makes tracing drop other events (tokio-rs/tracing#2519); sea-orm's spans remain.
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
            // SQLite's own thousand pages are two batches, and each checkpoint waits for the disk: 32 MiB of log instead.
            .pragma("wal_autocheckpoint", "8192")
            // Batches touch rows all over the file; the 2 MB of SQLite's own cache hold none of it for long.
            .pragma("cache_size", "-16384")
            .busy_timeout(Duration::from_secs(5))
    });
    options
}

/// Whether no transaction is open on a connection that comes back. One that is not whole is closed, and what is open there rolled back.
///
/// When the disk is full SQLite rolls back by itself; sqlx cannot roll back again, and counts the transaction as open. The next one would be a
/// savepoint inside of it, and what one of those took might never be committed.
async fn is_whole(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The answer comes after the rollback that dropping a transaction has asked for.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// The file that a `sqlite:` URL names; none for a database in memory or on a server.
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

/// The mode of every file that holds data: its owner reads and writes it.
const PRIVATE: u32 = 0o600;

/// Makes the database file if it is missing. `SQLite` would create it with the mode that the umask leaves, and gives its journal files
/// the mode of the database file; an existing file keeps the mode that the operator gave it (`parley doctor` reports a wide one).
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

/// Takes the lock on `<file>.lock`, which holds while the handle lives.
///
/// # Errors
/// [`OpenError::Locked`] while another process holds it; [`OpenError::Unreachable`] when the file cannot be made.
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
