//! The server: what is built, and drained, in which order. No rules, no SQL.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus::Registry;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Readiness},
    api,
    chat::{
        Chat,
        audit::AuditLog,
        bootstrap::{self, Bootstrapped},
        files::{Files, rotation},
        tokens::Tokens,
        writer::Writer,
    },
    config::Config,
    db::{Database, OpenError},
    events::{
        Events, follow,
        hub::Hub,
        log::Log,
        relay::{self, Relay},
    },
    gateway,
    mail::Mailer,
    rate_limit::AnonymousLimits,
    storage::Storage,
};

mod body_time;
mod clock;
mod coalesce;
mod descriptors;
pub mod doctor;
mod grpc_body;
mod incoming;
mod instruments;
mod linger;
mod listeners;
mod memory_limit;
mod rooms;
mod tls;
mod upkeep;

pub use rooms::token_file;

use incoming::Incoming;
use tls::Tls;

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where JSON is served.
    pub http: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// What an empty database was filled with, to be shown once.
    pub made: Option<Bootstrapped>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Waits until the server has drained.
    ///
    /// # Errors
    /// When a listener failed, or the drain did not end within its grace period.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.ended.await.context("the server's task")?
    }
}

/// Brings the database up to this version, and ends.
///
/// # Errors
/// [`OpenError`].
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let db = Database::open(&rooms::database(config)).await?;
    db.migrate().await?;
    tracing::info!("the database is up to date");
    db.close().await.context("closing the database")
}

/// Says that the database was restored from a backup: gives every log another epoch, and says how many there are.
///
/// # Errors
/// [`OpenError`]; when the database cannot be written.
pub async fn restored(config: &Config) -> anyhow::Result<u64> {
    let db = Database::open(&rooms::database(config)).await?;
    db.migrate().await?;
    let logs = Log::new(db.clone()).replace_all().await?;
    db.close().await.context("closing the database")?;
    Ok(logs)
}

/// Replaces the key that signs file links, and returns how many stored links were signed anew.
///
/// # Errors
/// [`OpenError`]; when the database cannot be written.
pub async fn rotate_link_key(config: &Config) -> anyhow::Result<usize> {
    let db = Database::open(&rooms::database(config)).await?;
    db.migrate().await?;
    let links = rotation::rotate(&db).await?;
    db.close().await.context("closing the database")?;
    Ok(links)
}

/// Opens the database, with the tables of this version.
async fn open(config: &Config) -> Result<Database, OpenError> {
    let db = Database::open(&rooms::database(config)).await?;
    if config.database.migrate {
        db.migrate().await?;
    } else {
        db.is_migrated().await?;
    }
    Ok(db)
}

/// Starts a server. It serves when this returns.
///
/// # Errors
/// [`OpenError`]; when an address cannot be bound.
pub async fn start(config: Config, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<Running> {
    #[cfg(feature = "faults")]
    crate::fault::turn_off(&config.fault.switch);
    let descriptors = descriptors::raise();
    let connections = descriptors::connections(&config, descriptors);
    if connections < config.limits.connections {
        tracing::warn!(
            descriptors,
            connections,
            configured = config.limits.connections,
            "fewer connections than limits.connections: each listener gets what the limit of open files leaves; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    let db = open(&config).await?;
    let made = bootstrap::run(&db, &rooms::bootstrap(&config)).await?;

    let log = Log::new(db.clone());
    let (relay, relaying) = match config.nats.url.as_str() {
        "" => (None, None),
        url => Relay::connect(url)
            .await
            .map(|(relay, relaying)| (Some(relay), Some(relaying)))
            .context("nats.url")?,
    };
    let hub = Arc::new(Hub::new(rooms::events(&config), log.clone(), relay));
    let events = Events {
        log: log.clone(),
        hub: Arc::clone(&hub),
    };
    let (writer, lanes) = Writer::start(&rooms::writer(&config), &db, &events);
    let life = Duration::from_secs(config.auth.cache_seconds);
    let tokens = Tokens::new(db.clone(), life, config.auth.cached_tokens);
    let http = listeners::bind("http", &config.http.addr).await?;
    let http_at = http.local_addr()?;
    let storage = Storage::new(&rooms::storage(&config)).context("files.url")?;
    if let Err(error) = storage.open() {
        tracing::warn!(%error, "files cannot be stored; uploads are refused until they can");
    }
    let files = Files::open(db.clone(), storage, rooms::files(&config, http_at)).await?;
    let mailer = Mailer::new(&rooms::mail(&config))?;
    let (audit, audit_writer) = AuditLog::new(db.clone());
    let chat = Chat::new(db.clone(), events, writer, tokens, files.clone(), audit, mailer.is_some());

    // Streams end first, then listeners, then what they need.
    let streams = CancellationToken::new();
    let behind = CancellationToken::new();
    let anonymous = AnonymousLimits::new(rooms::anonymous(&config));
    let routes = api::routes(&chat, &rooms::api(&config, http_at, Arc::clone(&anonymous)), &streams);
    let memory = rooms::request_memory(&config);
    let gateway = gateway::router(
        routes.clone(),
        rooms::gateway(&config, memory.clone(), streams.clone(), Arc::clone(&anonymous)),
    );
    let (ready, readiness) = watch::channel(Readiness::waiting_for(&["database", "serving"]));

    let grpc = listeners::bind("grpc", &config.grpc.addr).await?;
    let operators = listeners::bind("admin", &config.admin.addr).await?;
    let (grpc_at, admin_at) = (grpc.local_addr()?, operators.local_addr()?);

    // The database was just migrated, and connections wait in the listeners from here on.
    ready.send_modify(|ready| {
        ready.set("database", Ok(()));
        ready.set("serving", Ok(()));
    });
    let tls = Tls::open(&config.tls)?;
    let incoming = |door: &str, listener| {
        let tls = tls
            .clone()
            .filter(|_| config.tls.listeners.split(',').any(|named| named.trim() == door));
        // Operators get in whatever clients do.
        let most = if door == "admin" { descriptors::ADMIN } else { connections };
        Incoming::over(listener, most, rooms::stall_timeout(&config), tls)
    };
    let mut doors = JoinSet::new();
    doors.spawn(listeners::grpc(
        incoming("grpc", grpc),
        routes,
        config.grpc.clone(),
        rooms::body_limits(&config, memory),
        rooms::longest_stream(&config),
        rooms::trusted_proxies(&config),
        anonymous,
        readiness.clone(),
        streams.clone(),
    ));
    doors.spawn(listeners::http(
        incoming("http", http),
        gateway,
        rooms::ends(&config),
        streams.clone(),
    ));
    // It writes, so it has to end before the writer does.
    doors.spawn(upkeep::wake(chat.clone(), streams.clone()));
    let mut back = JoinSet::new();
    let admin = admin::router(registry, readiness.clone());
    let operating = listeners::http(incoming("admin", operators), admin, rooms::ends(&config), behind.clone());
    back.spawn(operating);
    if let Some(tls) = &tls {
        back.spawn(tls.clone().follow(behind.clone()));
    }
    back.spawn(upkeep::follow(follow::run(Arc::clone(&hub), db.clone(), behind.clone())));
    if let Some(relaying) = relaying {
        back.spawn(upkeep::follow(relay::run(Arc::clone(&hub), relaying, behind.clone())));
    }
    let clock = Arc::new(clock::Clock::new(db.clone()));
    back.spawn(upkeep::keys(
        db.clone(),
        Arc::clone(&clock),
        Duration::from_secs(config.idempotency.keep_hours * 3600),
        behind.clone(),
    ));
    back.spawn(upkeep::follow(audit_writer.run(behind.clone())));
    back.spawn(upkeep::trim_audit(
        db.clone(),
        Arc::clone(&clock),
        rooms::keep_audit(&config),
        behind.clone(),
    ));
    back.spawn(upkeep::trim(
        log.clone(),
        Arc::clone(&clock),
        rooms::keep(&config),
        Duration::from_secs(config.events.trim_interval_seconds),
        behind.clone(),
    ));
    back.spawn(upkeep::files(files, Arc::clone(&clock), behind.clone()));
    back.spawn(upkeep::deleted(db.clone(), behind.clone()));
    if let Some(mailer) = mailer {
        back.spawn(upkeep::mails(db.clone(), mailer, clock, behind.clone()));
    }
    back.spawn(upkeep::search(db.clone(), behind.clone()));
    back.spawn(upkeep::check(db.clone(), ready.clone(), behind.clone()));
    instruments::streams(&hub);
    instruments::connections(&db);
    instruments::readiness(readiness.clone());
    instruments::kept(rooms::keep(&config));
    back.spawn(instruments::logs(log.clone(), behind.clone()));

    for (door, address) in [("grpc", grpc_at), ("http", http_at), ("admin", admin_at)] {
        tracing::info!(door, %address, "listening");
    }
    let drain = Drain {
        shutdown,
        ready,
        streams,
        behind,
        doors,
        back,
        lanes,
        chat,
        db,
        grace: Duration::from_secs(config.shutdown.grace_seconds),
    };
    Ok(Running {
        grpc: grpc_at,
        http: http_at,
        admin: admin_at,
        made,
        ended: tokio::spawn(drain.run()),
    })
}

/// What has to end, in its order.
struct Drain {
    shutdown: CancellationToken,
    ready: watch::Sender<Readiness>,
    streams: CancellationToken,
    behind: CancellationToken,
    doors: JoinSet<anyhow::Result<()>>,
    back: JoinSet<anyhow::Result<()>>,
    lanes: JoinSet<()>,
    chat: Chat,
    db: Database,
    grace: Duration,
}

impl Drain {
    /// Waits for the signal, or for a door that fails by itself, and drains.
    async fn run(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            Some(ended) = self.doors.join_next() => ended.context("a listener's task").flatten(),
        };
        self.ready
            .send_if_modified(|ready| ready.set("serving", Err("draining".to_owned())));
        let grace = self.grace;
        let drained = tokio::time::timeout(grace, self.drain()).await;
        failed?;
        drained.with_context(|| format!("the drain did not end within {} seconds (shutdown.grace_seconds)", grace.as_secs()))?
    }

    /// Not ready, streams end with their cursor, calls in flight finish, the writer empties.
    async fn drain(mut self) -> anyhow::Result<()> {
        tracing::info!("draining: streams end, calls in flight finish");
        self.streams.cancel();
        while let Some(ended) = self.doors.join_next().await {
            ended.context("a listener's task")??;
        }
        // The last clone of the writer goes with the verbs: its lanes store what is queued, and end.
        drop(self.chat);
        while let Some(ended) = self.lanes.join_next().await {
            ended.context("a lane of the writer")?;
        }
        self.behind.cancel();
        while let Some(ended) = self.back.join_next().await {
            ended.context("a task behind the doors")??;
        }
        self.db.close().await.context("closing the database")?;
        tracing::info!("drained");
        Ok(())
    }
}
