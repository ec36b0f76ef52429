//! The end of a server: what stops, in which order, and how long each step may take.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use parley_blobs::Storage;
use parley_domain::Domain;
use parley_storage::Database;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{draining::Draining, supervise::Supervisor};
use crate::admin::Readiness;

/// How long connections that were cut may take to end.
const CUT: Duration = Duration::from_secs(1);

/// The task that stores audit events.
pub(super) const AUDIT_LOG: &str = "audit log";

/// How long the rest may take once the listeners have ended: writer shards, background jobs, the database. A supervisor that kills must allow for
/// `shutdown.grace_seconds` and [`CUT`] and this; the chart adds ten seconds to the grace period.
const REST: Duration = Duration::from_secs(8);

/// What has to end, in its order.
pub struct Shutdown {
    /// Asks the server to end.
    pub signal: CancellationToken,
    /// Where it says that it takes no more calls.
    pub ready: watch::Sender<Readiness>,
    /// Ends streams, and the listeners of clients.
    pub streams: CancellationToken,
    /// Ends what the listeners of clients need.
    pub behind: CancellationToken,
    /// The listeners of clients.
    pub doors: Supervisor,
    /// What they need.
    pub back: Supervisor,
    /// The shards of the writer.
    pub lanes: JoinSet<()>,
    /// The domain, which holds the writer.
    pub domain: Domain,
    /// The database.
    pub db: Database,
    /// The bytes of files.
    pub storage: Storage,
    /// Connections of clients.
    pub clients: [Draining; 2],
    /// Connections of operators.
    pub operators: Draining,
    /// How long requests in flight may take.
    pub grace: Duration,
}

impl Shutdown {
    /// Waits for the signal, or for a task that ends by itself, and drains.
    ///
    /// # Errors
    /// When a task ended by itself, or something that was acknowledged may be lost.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = self.signal.cancelled() => None,
            error = self.doors.failed() => Some(error),
            error = self.back.failed() => Some(error),
            Some(ended) = self.lanes.join_next() => Some(shard_ended(ended)),
        };
        let state = if failed.is_some() { "failed" } else { "draining" };
        self.ready.send_if_modified(|ready| ready.set("serving", Err(state.to_owned())));
        if let Some(error) = &failed {
            tracing::error!(
                error = format!("{error:#}"),
                "a task that the server cannot do without has ended; exiting"
            );
        }
        let drained = self.drain().await;
        failed.map_or(drained, Err)
    }

    /// Not ready, streams end with their cursor, calls in flight finish, queued writes are flushed. A step that fails or takes too long holds up
    /// none of the others.
    ///
    /// A call is acknowledged after its commit, so nothing acknowledged is at risk where calls are cut or a shard does not end. Audit events are
    /// the exception: their calls may have been answered before.
    ///
    /// # Errors
    /// The first failure.
    async fn drain(mut self) -> anyhow::Result<()> {
        tracing::info!("draining: streams end, calls in flight finish");
        self.streams.cancel();
        let mut first = match timeout(self.grace, self.doors.drain()).await {
            Ok(ended) => ended,
            Err(_) => self.cut().await,
        };
        let deadline = Instant::now() + REST;
        // Dropping the domain drops the last clone of the writer: its shards store what is queued, and end.
        drop(self.domain);
        let lanes = async {
            let mut first = Ok(());
            while let Some(ended) = self.lanes.join_next().await {
                first = first.and(ended.context("a writer shard"));
            }
            first
        };
        // Half of the time: what follows needs some even if a shard waits for a database that is away.
        if let Ok(ended) = timeout(REST / 2, lanes).await {
            first = first.and(ended);
        } else {
            tracing::warn!("writer shards did not end in time; the calls that wait for them were not acknowledged");
        }
        self.behind.cancel();
        let back = timeout_at(deadline - REST / 4, self.back.drain()).await;
        let connections = self.operators.cut();
        match back {
            Ok(ended) => first = first.and(ended),
            Err(_) => first = first.and(left_behind(&self.back, connections)),
        }
        if timeout_at(deadline, self.storage.drain()).await.is_err() {
            tracing::warn!("files under way were not removed in time; they are removed after the next start");
        }
        if let Ok(closed) = timeout_at(deadline, self.db.close()).await {
            first = first.and(closed.context("closing the database"));
        } else {
            tracing::warn!("connections to the database did not close in time");
        }
        tracing::info!("drained");
        first
    }

    /// Ends the connections that are open after the grace period.
    ///
    /// # Errors
    /// When a listener failed.
    async fn cut(&mut self) -> anyhow::Result<()> {
        let [grpc, http] = &self.clients;
        let (grpc, http) = (grpc.cut(), http.cut());
        tracing::warn!(
            grpc_connections = grpc,
            http_connections = http,
            grace_seconds = self.grace.as_secs(),
            "the grace period is over; connections that are still open were cut"
        );
        // What does not end now ends with the process.
        timeout(CUT, self.doors.drain()).await.unwrap_or(Ok(()))
    }
}

/// What background tasks that did not end in time mean.
///
/// # Errors
/// When the audit log is among them.
fn left_behind(back: &Supervisor, connections: usize) -> anyhow::Result<()> {
    let tasks = back.unfinished();
    tracing::warn!(?tasks, admin_connections = connections, "background tasks did not end in time");
    if tasks.contains(&AUDIT_LOG) {
        return Err(anyhow!(
            "audit events of acknowledged calls may not be stored: the audit log did not end in time"
        ));
    }
    Ok(())
}

/// Why a writer shard ended while the server runs.
fn shard_ended(ended: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    let reason = ended.err().map_or_else(|| anyhow!("its queue was closed"), Into::into);
    reason.context("a writer shard ended: its accounts cannot be written to")
}
