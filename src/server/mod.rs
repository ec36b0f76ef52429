//! The server: what is built, and drained, in which order. No rules, no SQL.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use parley_admission::{client_address::TrustedProxies, rate_limit::AnonymousLimits};
use parley_domain::{
    Context, Domain,
    audit::AuditLog,
    auth::{
        bootstrap::{self, Bootstrapped},
        tokens::Tokens,
    },
    files::{Files, rotation},
    mail::Mailer,
    messages::batch::MessageWriter,
};
use parley_eventlog::{Events, hub::Hub, log::Log, nats, replicas};
use parley_proto::codec::{LargeSteps, run_large_steps};
use parley_storage::{Database, OpenError};
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Readiness},
    config::Config,
};

pub mod backup;
mod body_time;
mod clock;
mod closing;
mod coalesce;
mod descriptors;
pub mod doctor;
mod draining;
mod ending;
mod grpc_body;
mod in_flight;
mod incoming;
mod instruments;
mod linger;
mod listeners;
mod marks;
mod memory_limit;
mod offline;
mod per_address;
mod readiness;
mod rooms;
mod shutdown;
mod start;
mod supervise;
mod tls;
mod unread;
mod upkeep;

pub use offline::create_token;
pub use rooms::token_file;
pub use start::StartError;

use draining::Draining;
use incoming::{Incoming, Room};
use per_address::PerAddress;
use shutdown::AUDIT_LOG;
use start::Acquired;
use supervise::Supervisor;
use unread::Unread;

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
    /// When a listener failed, or something that was acknowledged may be lost.
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
    let db = Database::open(&rooms::existing_database(config)).await?;
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
    let db = Database::open(&rooms::existing_database(config)).await?;
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
/// [`StartError`], and then nothing was created or changed; [`OpenError`]; [`bootstrap::BootstrapError`].
// One list of what is built, in the order in which it has to be built.
#[allow(clippy::too_many_lines)]
pub async fn start(config: Config, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<Running> {
    #[cfg(feature = "faults")]
    parley_fault::turn_off(&config.fault.switch);
    parley_compute::enable();
    run_large_steps(LargeSteps {
        above: parley_compute::SMALL,
        run: |step| parley_compute::heavy(step),
    });
    let descriptors = descriptors::raise();
    let connections = descriptors::connections(&config, descriptors);
    if connections.each < config.limits.connections {
        tracing::info!(
            descriptors,
            connections = connections.each,
            configured = config.limits.connections,
            "fewer connections than limits.connections: each listener gets what the limit of open files leaves; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    let Acquired {
        grpc,
        http,
        admin: operators,
        tls,
        relay,
        storage,
        mailer,
    } = Acquired::acquire(&config).await?;
    let (grpc_at, http_at, admin_at) = (grpc.local_addr()?, http.local_addr()?, operators.local_addr()?);
    if let Err(error) = storage.open() {
        tracing::warn!(%error, "files cannot be stored; uploads are refused until they can");
    }
    let db = open(&config).await?;
    let files = Files::open(db.clone(), storage.clone(), rooms::files(&config, http_at)).await?;
    let unmarked = marks::decide(&db, rooms::cursor_marks_after(&config)).await?;
    // Nothing below can fail: a token that is generated here is shown.
    let made = bootstrap::run(&db, &rooms::bootstrap(&config)).await?;

    let log = Log::new(db.clone());
    let (relay, relaying) = relay.unzip();
    let hub = Arc::new(Hub::new(rooms::events(&config), log.clone(), relay));
    let events = Events {
        log: log.clone(),
        hub: Arc::clone(&hub),
    };
    let (writer, lanes) = MessageWriter::start(&rooms::writer(&config), rooms::message_batches(&config), &db, &events);
    let life = Duration::from_secs(config.auth.cache_seconds);
    let tokens = Tokens::new(db.clone(), life, config.auth.cached_tokens);
    let (audit, audit_writer) = AuditLog::new(db.clone());
    let context = Context::new(db.clone(), events, writer, tokens, files.clone(), audit);
    let domain = Domain::new(context, rooms::domain(&config, mailer.is_some()));

    // Streams end first, then listeners, then what they need.
    let streams = CancellationToken::new();
    let behind = CancellationToken::new();
    let anonymous = AnonymousLimits::new(rooms::anonymous(&config));
    let (routes, watching_streams) = parley_grpc::routes(&domain, &rooms::api(&config, http_at, Arc::clone(&anonymous)), &streams);
    let memory = rooms::request_memory(&config, &domain.context.tokens, &anonymous);
    let unread = Unread::new(memory.clone(), rooms::stall_timeout(&config));
    let gateway = parley_rest::router(
        routes.clone(),
        rooms::gateway(&config, memory.clone(), streams.clone(), Arc::clone(&anonymous), files.clone()),
    );
    let (ready, readiness) = watch::channel(Readiness::waiting_for(&["database", "serving"]));

    // The database was just migrated, and connections have been waiting in the listeners.
    ready.send_modify(|ready| {
        ready.set("database", Ok(()));
        ready.set("serving", Ok(()));
    });
    let shared = Arc::new(Semaphore::new(connections.together));
    let per_address = PerAddress::new(config.limits.connections_per_address, rooms::trusted_proxies(&config));
    let [grpc_draining, http_draining] = [Draining::from(streams.clone()), Draining::from(streams.clone())];
    let admin_draining = Draining::from(behind.clone());
    let incoming = |door: &str, listener, draining: &Draining| {
        let tls = tls
            .clone()
            .filter(|_| config.tls.listeners.split(',').any(|named| named.trim() == door));
        // Operators get in whatever clients do.
        let room = if door == "admin" {
            let unlimited = PerAddress::new(0, TrustedProxies::default());
            Room::new(descriptors::ADMIN, Arc::new(Semaphore::new(descriptors::ADMIN)), unlimited)
        } else {
            Room::new(connections.each, Arc::clone(&shared), Arc::clone(&per_address))
        };
        Incoming::over(listener, room, rooms::stall_timeout(&config), draining.clone(), tls)
    };
    let (grpc_incoming, grpc_accepting) = incoming("grpc", grpc, &grpc_draining);
    let (http_incoming, http_accepting) = incoming("http", http, &http_draining);
    let (admin_incoming, admin_accepting) = incoming("admin", operators, &admin_draining);
    let mut doors = Supervisor::default();
    doors.spawn(
        "gRPC listener",
        listeners::grpc(
            grpc_incoming,
            routes,
            config.grpc.clone(),
            rooms::body_limits(&config, memory, unread.clone(), Arc::clone(&anonymous)),
            rooms::longest_stream(&config),
            rooms::trusted_proxies(&config),
            anonymous,
            readiness.clone(),
            streams.clone(),
        ),
    );
    doors.spawn("gRPC accept loop", endless(grpc_accepting));
    doors.spawn(
        "HTTP listener",
        listeners::http(
            http_incoming,
            gateway,
            rooms::ends(&config, unread.clone()),
            streams.clone(),
            http_draining.clone(),
        ),
    );
    doors.spawn("HTTP accept loop", endless(http_accepting));
    doors.spawn("idle streams", endless(watching_streams));
    // It writes, so it has to end before the writer does.
    let (conversations, outbox) = (domain.conversations.clone(), domain.outbox.clone());
    let stop = streams.clone();
    doors.spawn_restarting("unsnooze", streams.clone(), move || {
        upkeep::wake(conversations.clone(), outbox.clone(), stop.clone())
    });
    let mut back = Supervisor::default();
    let admin = admin::router(registry, readiness.clone());
    let operating = listeners::http(
        admin_incoming,
        admin,
        rooms::ends(&config, unread.clone()),
        behind.clone(),
        admin_draining.clone(),
    );
    back.spawn("admin listener", operating);
    back.spawn("unread answers", endless(unread.run(behind.clone())));
    back.spawn("admin accept loop", endless(admin_accepting));
    if let Some(tls) = &tls {
        back.spawn("TLS certificates", tls.clone().follow(behind.clone()));
    }
    back.spawn("log follower", endless(replicas::run(Arc::clone(&hub), db.clone(), behind.clone())));
    if let Some(relaying) = relaying {
        back.spawn("relay", endless(nats::run(Arc::clone(&hub), relaying, behind.clone())));
    }
    back.spawn(
        "cursor marks",
        marks::follow(db.clone(), rooms::cursor_marks_after(&config), unmarked, behind.clone()),
    );
    back.spawn(AUDIT_LOG, endless(audit_writer.run(behind.clone())));
    back.spawn("readiness", readiness::check(db.clone(), ready.clone(), behind.clone()));
    back.spawn("metrics of logs", instruments::logs(log.clone(), behind.clone()));
    let jobs = Jobs {
        db: db.clone(),
        log,
        files,
        mailer,
        clock: Arc::new(clock::Clock::new(db.clone())),
        stop: behind.clone(),
    };
    jobs.spawn(&mut back, &config);
    instruments::streams(&hub);
    instruments::connections(&db);
    instruments::readiness(readiness.clone());
    instruments::kept(rooms::keep(&config));

    for (door, address) in [("grpc", grpc_at), ("http", http_at), ("admin", admin_at)] {
        tracing::info!(door, %address, "listening");
    }
    let drain = shutdown::Shutdown {
        signal: shutdown,
        ready,
        streams,
        behind,
        doors,
        back,
        lanes,
        domain,
        db,
        storage,
        clients: [grpc_draining, http_draining],
        operators: admin_draining,
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

/// A task that ends when it is asked to and cannot fail otherwise.
async fn endless(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// What background jobs work with. Each round of a job starts from the database, so one that panics is restarted.
struct Jobs {
    db: Database,
    log: Log,
    files: Files,
    mailer: Option<Mailer>,
    clock: Arc<clock::Clock>,
    stop: CancellationToken,
}

impl Jobs {
    fn spawn(self, back: &mut Supervisor, config: &Config) {
        let Self {
            db,
            log,
            files,
            mailer,
            clock,
            stop,
        } = self;
        let keep_answers = Duration::from_secs(config.idempotency.keep_hours * 3600);
        let (db_, clock_, stop_) = (db.clone(), Arc::clone(&clock), stop.clone());
        back.spawn_restarting("idempotency keys", stop.clone(), move || {
            upkeep::keys(db_.clone(), Arc::clone(&clock_), keep_answers, stop_.clone())
        });
        let keep_audit = rooms::keep_audit(config);
        let (db_, clock_, stop_) = (db.clone(), Arc::clone(&clock), stop.clone());
        back.spawn_restarting("audit trimming", stop.clone(), move || {
            upkeep::trim_audit(db_.clone(), Arc::clone(&clock_), keep_audit, stop_.clone())
        });
        let (keep, every) = (rooms::keep(config), Duration::from_secs(config.events.trim_interval_seconds));
        let (clock_, stop_) = (Arc::clone(&clock), stop.clone());
        back.spawn_restarting("trimming", stop.clone(), move || {
            upkeep::trim(log.clone(), Arc::clone(&clock_), keep, every, stop_.clone())
        });
        let (clock_, stop_) = (Arc::clone(&clock), stop.clone());
        back.spawn_restarting("files", stop.clone(), move || {
            upkeep::files(files.clone(), Arc::clone(&clock_), stop_.clone())
        });
        let (db_, stop_) = (db.clone(), stop.clone());
        back.spawn_restarting("deleted accounts", stop.clone(), move || {
            upkeep::deleted(db_.clone(), stop_.clone())
        });
        if let Some(mailer) = mailer {
            let (db_, stop_) = (db.clone(), stop.clone());
            back.spawn_restarting("mail", stop.clone(), move || {
                upkeep::mails(db_.clone(), mailer.clone(), Arc::clone(&clock), stop_.clone())
            });
        }
        let stop_ = stop.clone();
        back.spawn_restarting("search index", stop, move || upkeep::search(db.clone(), stop_.clone()));
    }
}
