//! The server: starts all components and drains them, in the required order. Contains no business rules and no SQL.

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
use parley_eventlog::{Events, broadcaster::Broadcaster, log::Log, nats, replicas};
use parley_proto::codec::{LargeSteps, run_large_steps};
use parley_storage::{Database, OpenError};
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Readiness},
    config::Config,
};

mod background_jobs;
pub mod backup;
mod body_timeout;
mod clock;
mod coalesce;
mod config_mapping;
mod connection_closer;
mod cursor_marks;
mod descriptors;
pub mod doctor;
mod draining;
mod grpc_body;
mod in_flight;
mod incoming;
mod lingering_close;
mod listeners;
mod memory_limit;
mod offline;
mod per_address;
mod process_metrics;
mod readiness;
mod shutdown;
mod start;
mod stoppable_body;
mod supervise;
mod tls;
mod unread_responses;

pub use config_mapping::token_file;
pub use offline::create_token;
pub use start::StartError;

use draining::ListenerDrain;
use incoming::{ConnectionSlots, Incoming};
use per_address::PerAddress;
use shutdown::AUDIT_LOG;
use start::Acquired;
use supervise::Supervisor;
use unread_responses::UnreadResponses;

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// Address of the gRPC listener.
    pub grpc: SocketAddr,
    /// Address of the JSON API's listener.
    pub http: SocketAddr,
    /// Address of the operators' listener.
    pub admin: SocketAddr,
    /// The credentials that were created in an empty database, or `None` if the database was not empty. The caller must show an
    /// `AdministratorToken::Generated` to the user once, because only its hash is stored.
    pub bootstrapped: Option<Bootstrapped>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Waits until the server has drained.
    ///
    /// # Errors
    /// Returns an error if a listener failed, or if acknowledged data might have been lost.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.ended.await.context("the server's task")?
    }
}

/// Migrates the database to this version.
///
/// # Errors
/// Returns [`OpenError`] if the database cannot be opened or migrated.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let db = Database::open(&config_mapping::database(config)).await?;
    db.migrate().await?;
    tracing::info!("the database is up to date");
    db.close().await.context("closing the database")
}

/// Records that the database was restored from a backup: starts a new epoch for every log, and returns the number of logs.
///
/// # Errors
/// Returns [`OpenError`] if the database cannot be opened or migrated, or a database error if it cannot be written.
pub async fn restored(config: &Config) -> anyhow::Result<u64> {
    let db = Database::open(&config_mapping::existing_database(config)).await?;
    db.migrate().await?;
    let logs = Log::new(db.clone()).replace_all().await?;
    db.close().await.context("closing the database")?;
    Ok(logs)
}

/// Replaces the key that signs file links, and returns the number of stored links that were signed with the new key.
///
/// # Errors
/// Returns [`OpenError`] if the database cannot be opened or migrated, or a database error if it cannot be written.
pub async fn rotate_link_key(config: &Config) -> anyhow::Result<usize> {
    let db = Database::open(&config_mapping::existing_database(config)).await?;
    db.migrate().await?;
    let links = rotation::rotate(&db).await?;
    db.close().await.context("closing the database")?;
    Ok(links)
}

/// Opens the database and migrates it, or checks that it is migrated if `database.migrate` is false.
async fn open(config: &Config) -> Result<Database, OpenError> {
    let db = Database::open(&config_mapping::database(config)).await?;
    if config.database.migrate {
        db.migrate().await?;
    } else {
        db.is_migrated().await?;
    }
    Ok(db)
}

/// Starts a server, which accepts calls by the time this function returns.
///
/// # Errors
/// Returns [`StartError`] if a setting or a listener's address cannot be used, in which case nothing was created or changed; [`OpenError`]
/// if the database cannot be opened or migrated; [`bootstrap::BootstrapError`] if an empty database cannot be initialized.
// A single list of components, in the order in which they must be started.
#[allow(clippy::too_many_lines)]
pub async fn start(config: Config, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<Running> {
    #[cfg(feature = "faults")]
    parley_fault::turn_off(&config.fault.switch);
    parley_compute::enable();
    run_large_steps(LargeSteps {
        above: parley_compute::HEAVY_ABOVE,
        run: |step| parley_compute::heavy(step),
    });
    let descriptors = descriptors::raise_limit();
    let limits = descriptors::connection_limits(&config, descriptors);
    if limits.per_listener < config.limits.connections {
        tracing::info!(
            descriptors,
            connections = limits.per_listener,
            configured = config.limits.connections,
            "the open-file limit allows fewer connections per listener than limits.connections; raise the open-file limit (ulimit -n, LimitNOFILE)"
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
        tracing::warn!(%error, "failed to open the file store; rejecting uploads until it is available");
    }
    let db = open(&config).await?;
    let files = Files::open(db.clone(), storage.clone(), config_mapping::files(&config, http_at)).await?;
    let marks_pending = cursor_marks::decide(&db, config_mapping::cursor_marks_after(&config)).await?;
    // None of the steps below can fail, so a token that is generated here is always shown.
    let bootstrapped = bootstrap::run(&db, &config_mapping::bootstrap(&config)).await?;

    let log = Log::new(db.clone());
    let (relay, relay_listener) = relay.unzip();
    let broadcaster = Arc::new(Broadcaster::new(config_mapping::events(&config), log.clone(), relay));
    let events = Events {
        log: log.clone(),
        broadcaster: Arc::clone(&broadcaster),
    };
    let (writer, shards) = MessageWriter::start(
        &config_mapping::writer(&config),
        config_mapping::message_batches(&config),
        &db,
        &events,
    );
    let life = Duration::from_secs(config.auth.cache_seconds);
    let tokens = Tokens::new(db.clone(), life, config.auth.cached_tokens);
    let (audit, audit_writer) = AuditLog::new(db.clone());
    let context = Context::new(db.clone(), events, writer, tokens, files.clone(), audit);
    let domain = Domain::new(context, config_mapping::domain(&config, mailer.is_some()));

    // Shutdown order: streams end first, then the listeners, then the components that they need.
    let streams = CancellationToken::new();
    let stop_background = CancellationToken::new();
    let anonymous = AnonymousLimits::new(config_mapping::anonymous_limits(&config));
    let (routes, idle_stream_monitor) = parley_grpc::routes(
        &domain,
        &config_mapping::grpc_api(&config, http_at, Arc::clone(&anonymous)),
        &streams,
    );
    let memory = config_mapping::request_memory(&config, &domain.context.tokens, &anonymous);
    let unread = UnreadResponses::new(memory.clone(), config_mapping::stall_timeout(&config));
    let gateway = parley_rest::router(
        routes.clone(),
        config_mapping::rest_gateway(&config, memory.clone(), streams.clone(), Arc::clone(&anonymous), files.clone()),
    );
    let (ready, readiness) = watch::channel(Readiness::waiting_for(&["database", "serving"]));

    // The server is ready: the database has just been migrated, and connections are already queueing in the listeners.
    ready.send_modify(|ready| {
        ready.set("database", Ok(()));
        ready.set("serving", Ok(()));
    });
    let shared = Arc::new(Semaphore::new(limits.total));
    let per_address = PerAddress::new(config.limits.connections_per_address, config_mapping::trusted_proxies(&config));
    let [grpc_draining, http_draining] = [ListenerDrain::new(streams.clone()), ListenerDrain::new(streams.clone())];
    let admin_draining = ListenerDrain::new(stop_background.clone());
    let incoming = |name: &str, listener, draining: &ListenerDrain| {
        let tls = tls
            .clone()
            .filter(|_| config.tls.listeners.split(',').any(|named| named.trim() == name));
        // The operators' listener has its own limits, so that it stays reachable when clients exhaust theirs.
        let slots = if name == "admin" {
            let unlimited = PerAddress::new(0, TrustedProxies::default());
            ConnectionSlots::new(
                descriptors::ADMIN_CONNECTIONS,
                Arc::new(Semaphore::new(descriptors::ADMIN_CONNECTIONS)),
                unlimited,
            )
        } else {
            ConnectionSlots::new(limits.per_listener, Arc::clone(&shared), Arc::clone(&per_address))
        };
        Incoming::new(listener, slots, config_mapping::stall_timeout(&config), draining.clone(), tls)
    };
    let (grpc_incoming, grpc_accepting) = incoming("grpc", grpc, &grpc_draining);
    let (http_incoming, http_accepting) = incoming("http", http, &http_draining);
    let (admin_incoming, admin_accepting) = incoming("admin", operators, &admin_draining);
    let mut serving = Supervisor::default();
    serving.spawn(
        "gRPC listener",
        listeners::grpc(
            grpc_incoming,
            routes,
            config.grpc.clone(),
            config_mapping::body_limits(&config, memory, unread.clone(), Arc::clone(&anonymous)),
            config_mapping::longest_stream(&config),
            config_mapping::trusted_proxies(&config),
            anonymous,
            readiness.clone(),
            streams.clone(),
        ),
    );
    serving.spawn("gRPC accept loop", endless(grpc_accepting));
    serving.spawn(
        "HTTP listener",
        listeners::http(
            http_incoming,
            gateway,
            config_mapping::http_limits(&config, unread.clone()),
            streams.clone(),
            http_draining.clone(),
        ),
    );
    serving.spawn("HTTP accept loop", endless(http_accepting));
    serving.spawn("idle streams", endless(idle_stream_monitor));
    // The unsnooze job writes, so it must end before the writer does.
    let (conversations, outbox) = (domain.conversations.clone(), domain.outbox.clone());
    let stop = streams.clone();
    serving.spawn_restarting("unsnooze", streams.clone(), move || {
        background_jobs::unsnooze(conversations.clone(), outbox.clone(), stop.clone())
    });
    let mut background = Supervisor::default();
    let admin = admin::router(registry, readiness.clone());
    let admin_server = listeners::http(
        admin_incoming,
        admin,
        config_mapping::http_limits(&config, unread.clone()),
        stop_background.clone(),
        admin_draining.clone(),
    );
    background.spawn("admin listener", admin_server);
    background.spawn("unread responses", endless(unread.run(stop_background.clone())));
    background.spawn("admin accept loop", endless(admin_accepting));
    if let Some(tls) = &tls {
        background.spawn("TLS certificates", tls.clone().reload_on_change(stop_background.clone()));
    }
    background.spawn(
        "log follower",
        endless(replicas::run(Arc::clone(&broadcaster), db.clone(), stop_background.clone())),
    );
    if let Some(relay_listener) = relay_listener {
        background.spawn(
            "relay",
            endless(nats::run(Arc::clone(&broadcaster), relay_listener, stop_background.clone())),
        );
    }
    background.spawn(
        "cursor marks",
        cursor_marks::follow(
            db.clone(),
            config_mapping::cursor_marks_after(&config),
            marks_pending,
            stop_background.clone(),
        ),
    );
    background.spawn(AUDIT_LOG, endless(audit_writer.run(stop_background.clone())));
    background.spawn("readiness", readiness::check(db.clone(), ready.clone(), stop_background.clone()));
    background.spawn("metrics of logs", process_metrics::logs(log.clone(), stop_background.clone()));
    let jobs = Jobs {
        db: db.clone(),
        log,
        files,
        mailer,
        clock: Arc::new(clock::Clock::new(db.clone())),
        stop: stop_background.clone(),
    };
    jobs.spawn(&mut background, &config);
    process_metrics::streams(&broadcaster);
    process_metrics::connections(&db);
    process_metrics::readiness(readiness.clone());
    process_metrics::retention(config_mapping::retention(&config));

    for (name, address) in [("grpc", grpc_at), ("http", http_at), ("admin", admin_at)] {
        tracing::info!(listener = name, %address, "listening");
    }
    let drain = shutdown::Shutdown {
        signal: shutdown,
        ready,
        streams,
        stop_background,
        serving,
        background,
        shards,
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
        bootstrapped,
        ended: tokio::spawn(drain.run()),
    })
}

/// Adapts an infallible task, which ends only on request, to the signature that [`Supervisor::spawn`] expects.
async fn endless(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// Dependencies of the background jobs. Each iteration of a job starts from the state in the database, so a job that panics can be
/// restarted.
struct Jobs {
    db: Database,
    log: Log,
    files: Files,
    mailer: Option<Mailer>,
    clock: Arc<clock::Clock>,
    stop: CancellationToken,
}

impl Jobs {
    fn spawn(self, background: &mut Supervisor, config: &Config) {
        let Self {
            db,
            log,
            files,
            mailer,
            clock,
            stop,
        } = self;
        let keep_responses = Duration::from_secs(config.idempotency.keep_hours * 3600);
        let (db_, clock_, stop_) = (db.clone(), Arc::clone(&clock), stop.clone());
        background.spawn_restarting("idempotency keys", stop.clone(), move || {
            background_jobs::remove_expired_responses(db_.clone(), Arc::clone(&clock_), keep_responses, stop_.clone())
        });
        let keep_audit = config_mapping::audit_retention(config);
        let (db_, clock_, stop_) = (db.clone(), Arc::clone(&clock), stop.clone());
        background.spawn_restarting("audit trimming", stop.clone(), move || {
            background_jobs::trim_audit(db_.clone(), Arc::clone(&clock_), keep_audit, stop_.clone())
        });
        let (keep, every) = (
            config_mapping::retention(config),
            Duration::from_secs(config.events.trim_interval_seconds),
        );
        let (clock_, stop_) = (Arc::clone(&clock), stop.clone());
        background.spawn_restarting("trimming", stop.clone(), move || {
            background_jobs::trim_logs(log.clone(), Arc::clone(&clock_), keep, every, stop_.clone())
        });
        let (clock_, stop_) = (Arc::clone(&clock), stop.clone());
        background.spawn_restarting("files", stop.clone(), move || {
            background_jobs::remove_unneeded_files(files.clone(), Arc::clone(&clock_), stop_.clone())
        });
        let (db_, stop_) = (db.clone(), stop.clone());
        background.spawn_restarting("deleted accounts", stop.clone(), move || {
            background_jobs::remove_deleted_accounts(db_.clone(), stop_.clone())
        });
        if let Some(mailer) = mailer {
            let (db_, stop_) = (db.clone(), stop.clone());
            background.spawn_restarting("mail", stop.clone(), move || {
                background_jobs::send_mail(db_.clone(), mailer.clone(), Arc::clone(&clock), stop_.clone())
            });
        }
        let stop_ = stop.clone();
        background.spawn_restarting("search index", stop, move || {
            background_jobs::index_messages(db.clone(), stop_.clone())
        });
    }
}
