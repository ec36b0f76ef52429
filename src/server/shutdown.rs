//! Shutdown of a server: the order of its steps, and the time limit of each.

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

use super::{draining::ListenerDrain, supervise::Supervisor};
use crate::admin::Readiness;

/// How long aborted connections may take to end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of the task that stores audit events.
pub(super) const AUDIT_LOG: &str = "audit log";

/// Time limit for all steps after the listeners have ended: writer shards, background jobs, the database. A process supervisor must wait
/// for the sum of `shutdown.grace_seconds`, [`ABORT_TIMEOUT`] and this limit before it kills the process; the chart adds ten seconds to the
/// grace period.
const TIMEOUT_AFTER_GRACE: Duration = Duration::from_secs(8);

/// The components to shut down, in order.
pub struct Shutdown {
    /// Cancelled to request the shutdown.
    pub signal: CancellationToken,
    /// Publishes the server's readiness: from the start of the shutdown, the server is not ready.
    pub ready: watch::Sender<Readiness>,
    /// Cancelled to end streams and the client listeners.
    pub streams: CancellationToken,
    /// Cancelled to end the components that the client listeners depend on.
    pub stop_background: CancellationToken,
    pub serving: Supervisor,
    /// The tasks that end after `stop_background` is cancelled.
    pub background: Supervisor,
    /// The tasks of the writer shards.
    pub shards: JoinSet<()>,
    /// The domain, which holds the writer.
    pub domain: Domain,
    pub db: Database,
    /// The file store.
    pub storage: Storage,
    /// The draining state of the client listeners: gRPC, then HTTP.
    pub clients: [ListenerDrain; 2],
    /// The draining state of the operators' listener.
    pub operators: ListenerDrain,
    /// How long requests in flight may take before their connections are aborted.
    pub grace: Duration,
}

impl Shutdown {
    /// Waits for the shutdown signal, or for a task to end on its own, and then drains the server.
    ///
    /// # Errors
    /// Returns an error if a task ended on its own, or if acknowledged data might have been lost.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = self.signal.cancelled() => None,
            error = self.serving.failed() => Some(error),
            error = self.background.failed() => Some(error),
            Some(ended) = self.shards.join_next() => Some(shard_ended(ended)),
        };
        let state = if failed.is_some() { "failed" } else { "draining" };
        self.ready.send_if_modified(|ready| ready.set("serving", Err(state.to_owned())));
        if let Some(error) = &failed {
            tracing::error!(error = format!("{error:#}"), "an essential task ended unexpectedly; shutting down");
        }
        let drained = self.drain().await;
        failed.map_or(drained, Err)
    }

    /// Drains the server: it becomes not ready, streams end with their cursor, calls in flight finish, and queued writes are flushed. A
    /// step that fails or exceeds its time limit does not prevent the others.
    ///
    /// A call is acknowledged after its commit, so no acknowledged write is at risk if calls are aborted or a shard does not end. Audit
    /// events are the exception: their calls might have been acknowledged before the events are stored.
    ///
    /// # Errors
    /// Returns the first failure.
    async fn drain(mut self) -> anyhow::Result<()> {
        tracing::info!("draining: ending streams and finishing calls in flight");
        self.streams.cancel();
        let mut first = match timeout(self.grace, self.serving.drain()).await {
            Ok(ended) => ended,
            Err(_) => self.abort().await,
        };
        let deadline = Instant::now() + TIMEOUT_AFTER_GRACE;
        // The domain holds the last clone of the writer. When the domain is dropped, the writer shards store the queued writes and end.
        drop(self.domain);
        let shards = async {
            let mut first = Ok(());
            while let Some(ended) = self.shards.join_next().await {
                first = first.and(ended.context("a writer shard"));
            }
            first
        };
        // Use at most half of the time, so that some remains for the later steps even if a shard waits for an unavailable database.
        if let Ok(ended) = timeout(TIMEOUT_AFTER_GRACE / 2, shards).await {
            first = first.and(ended);
        } else {
            tracing::warn!("writer shards did not finish in time; pending calls were not acknowledged");
        }
        self.stop_background.cancel();
        let background = timeout_at(deadline - TIMEOUT_AFTER_GRACE / 4, self.background.drain()).await;
        let connections = self.operators.abort();
        match background {
            Ok(ended) => first = first.and(ended),
            Err(_) => first = first.and(report_unfinished(&self.background, connections)),
        }
        if timeout_at(deadline, self.storage.drain()).await.is_err() {
            tracing::warn!("unfinished uploads were not removed in time; they will be removed after the next start");
        }
        if let Ok(closed) = timeout_at(deadline, self.db.close()).await {
            first = first.and(closed.context("closing the database"));
        } else {
            tracing::warn!("connections to the database did not close in time");
        }
        tracing::info!("drained: all calls have completed");
        first
    }

    /// Aborts the connections that are still open after the grace period.
    ///
    /// # Errors
    /// Returns an error if a listener failed.
    async fn abort(&mut self) -> anyhow::Result<()> {
        let [grpc, http] = &self.clients;
        let (grpc, http) = (grpc.abort(), http.abort());
        tracing::warn!(
            grpc_connections = grpc,
            http_connections = http,
            grace_seconds = self.grace.as_secs(),
            "the grace period expired; aborted open connections"
        );
        // Tasks that do not end in time end with the process.
        timeout(ABORT_TIMEOUT, self.serving.drain()).await.unwrap_or(Ok(()))
    }
}

/// Reports background tasks that did not end in time.
///
/// # Errors
/// Returns an error if the audit log is among them.
fn report_unfinished(background: &Supervisor, connections: usize) -> anyhow::Result<()> {
    let tasks = background.unfinished();
    tracing::warn!(?tasks, admin_connections = connections, "background tasks did not finish in time");
    if tasks.contains(&AUDIT_LOG) {
        return Err(anyhow!(
            "audit events of acknowledged calls might be lost: the audit log did not finish in time"
        ));
    }
    Ok(())
}

/// Describes why a writer shard ended while the server was running.
fn shard_ended(ended: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    let reason = ended.err().map_or_else(|| anyhow!("its queue was closed"), Into::into);
    reason.context("a writer shard ended: its accounts cannot be written to")
}
