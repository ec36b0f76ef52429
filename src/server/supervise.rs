//! Supervision of long-lived tasks. If a task panics or ends before it is asked to, the server stops being ready, drains and exits with an
//! error. Jobs that start each iteration from the state in the database are restarted instead: a panic leaves nothing behind except a
//! transaction, which is rolled back.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Delay before a job is restarted after its first panic; doubled after each further panic, up to [`MAX_BACKOFF`].
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// A set of tasks that end together, on request.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    names: Vec<(AbortHandle, &'static str)>,
}

impl Supervisor {
    /// Runs a task that must not end before it is asked to.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let task = AssertUnwindSafe(parley_fault::measured(name, parley_fault::with_requested_panic(name, task))).catch_unwind();
        let handle = self.tasks.spawn(async move {
            let ended = task
                .await
                .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_message(&*panic))));
            (name, ended)
        });
        self.names.push((handle, name));
    }

    /// Runs a job until `stop` is cancelled, and restarts it after a panic. Only for jobs that keep no state between iterations.
    pub fn spawn_restarting<F>(&mut self, name: &'static str, stop: CancellationToken, job: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let task = parley_fault::measured(name, restarting(name, stop, job));
        let handle = self.tasks.spawn(async move { (name, task.await) });
        self.names.push((handle, name));
    }

    /// Waits until a task ends without being asked to, and returns its name and the reason as an error. Never returns if there are no
    /// tasks. Cancel safe.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, ended))) => {
                let reason = ended.err().unwrap_or_else(|| anyhow!("it ended unexpectedly"));
                reason.context(format!("the task \"{name}\" ended"))
            }
            Some(Err(error)) => anyhow!(error).context("a task ended"),
            None => std::future::pending().await,
        }
    }

    /// Returns the names of the tasks that have not ended.
    pub fn unfinished(&self) -> Vec<&'static str> {
        let running = self.names.iter().filter(|(handle, _)| !handle.is_finished());
        running.map(|(_, name)| *name).collect()
    }

    /// Waits for all tasks, which must have been asked to end. Cancel safe, except that failures of tasks that have already ended are lost.
    ///
    /// # Errors
    /// Returns the first failure, after all tasks have ended.
    pub async fn drain(&mut self) -> anyhow::Result<()> {
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = match ended {
                Ok((name, ended)) => ended.with_context(|| format!("the task \"{name}\"")),
                Err(error) => Err(anyhow!(error).context("a task")),
            };
            first = first.and(ended);
        }
        first
    }
}

async fn restarting<F>(name: &'static str, stop: CancellationToken, job: impl Fn() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut backoff = INITIAL_BACKOFF;
    loop {
        let panic = match AssertUnwindSafe(parley_fault::with_requested_panic(name, job()))
            .catch_unwind()
            .await
        {
            Ok(ended) => return ended,
            Err(panic) => panic_message(&*panic),
        };
        tracing::error!(job = name, panic, "a background job panicked; restarting it");
        if stop.run_until_cancelled(sleep(backoff)).await.is_none() {
            return Ok(());
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn reports_the_task_that_ended_and_why() {
        let mut tasks = Supervisor::default();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("broken", async { panic!("on {}", "purpose") });
        assert_eq!(
            format!("{:#}", tasks.failed().await),
            "the task \"broken\" ended: panicked: on purpose"
        );
        tasks.spawn("idle", async { Ok(()) });
        let reason = format!("{:#}", tasks.failed().await);
        assert_eq!(reason, "the task \"idle\" ended: it ended unexpectedly");
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_a_job_that_panics() {
        let (stop, rounds) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Supervisor::default();
        let (count, stopped) = (Arc::clone(&rounds), stop.clone());
        tasks.spawn_restarting("job", stop.clone(), move || {
            let (count, stopped) = (Arc::clone(&count), stopped.clone());
            async move {
                assert!(count.fetch_add(1, Ordering::Relaxed) >= 2, "on purpose");
                stopped.cancelled().await;
                Ok(())
            }
        });
        while rounds.load(Ordering::Relaxed) < 3 {
            sleep(INITIAL_BACKOFF).await;
        }
        stop.cancel();
        tasks.drain().await.unwrap();
    }
}
