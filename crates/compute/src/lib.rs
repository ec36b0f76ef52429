//! Bounded pools for CPU-bound work: templates, search, images, index preparation. Such work must not run on a worker of the runtime or in
//! a writer shard, where all other tasks would wait for it.
//!
//! A pool runs a limited number of jobs at once on the runtime's blocking threads. Further jobs wait in a bounded queue. Each job has a
//! time budget, which includes its time in the queue. Each kind of work has its own pool, so that one kind cannot occupy the slots of
//! another. Work that borrows from its request cannot be passed to a pool; it runs as a heavy step (see the module `heavy`).

mod heavy;

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::LocalKey,
    time::Duration,
};

use parley_types::error::Error;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

pub use heavy::{HEAVY_ABOVE, HasWeight, HeavyBody, WeighedBody, Weight, enable, heavy};

/// The retry delay that is reported to clients if the queue is full or the time budget is exceeded.
const RETRY: Duration = Duration::from_millis(500);

thread_local! {
    static ON_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the current thread is running a pool job.
pub fn is_worker() -> bool {
    ON_WORKER.get()
}

/// A bounded pool, whose jobs run on the blocking threads of the runtime.
#[derive(Debug)]
pub struct ComputePool {
    name: &'static str,
    slots: Semaphore,
    queued: AtomicUsize,
    queue: usize,
}

/// The reason why a pool returned no result for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The queue is full.
    #[error("too many jobs are queued for the {0} pool")]
    QueueFull(&'static str),
    /// The time budget of the job was exceeded, while it was queued or running.
    #[error("a job of the {0} pool exceeded its budget")]
    TimedOut(&'static str),
    /// The job panicked.
    #[error("a job of the {0} pool panicked")]
    Panicked(&'static str),
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::QueueFull(_) | Rejected::TimedOut(_) => Self::Busy { retry_after: RETRY },
            Rejected::Panicked(_) => Self::Internal(rejected.to_string()),
        }
    }
}

/// Signals to a job that its result is no longer needed, because its caller was dropped or its time budget is exceeded. A job with a loop
/// must check the signal in each iteration.
#[derive(Clone, Debug)]
pub struct Cancel {
    abandoned: Arc<AtomicBool>,
    deadline: Instant,
}

impl Cancel {
    /// Returns whether the job should stop.
    pub fn is_cancelled(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Marks a job as abandoned when its caller stops waiting for it.
struct AbandonOnDrop(Arc<AtomicBool>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A place in the queue, which is freed when this value is dropped.
struct Queued<'p>(&'p AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sets a thread-local flag for the duration of a job or step, and clears it even if that panics.
struct FlagGuard(&'static LocalKey<Cell<bool>>);

impl FlagGuard {
    fn set(mark: &'static LocalKey<Cell<bool>>) -> Self {
        mark.set(true);
        Self(mark)
    }
}

impl Drop for FlagGuard {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Runs a job on the current thread, marked as a thread of a pool. Used by fuzz targets.
#[cfg(feature = "faults")]
pub fn run_as_worker<T>(job: impl FnOnce() -> T) -> T {
    let _worker = FlagGuard::set(&ON_WORKER);
    job()
}

impl ComputePool {
    /// Creates a pool that runs `slots` jobs at once and queues up to `queue` more.
    pub const fn new(name: &'static str, slots: usize, queue: usize) -> Self {
        Self {
            name,
            slots: Semaphore::const_new(slots),
            queued: AtomicUsize::new(0),
            queue,
        }
    }

    /// Runs a job and returns its result. `budget` bounds the time until the result is available, including the time in the queue.
    ///
    /// Cancel safe: if the future is dropped, a job that has not started never starts, and a running job is cancelled through its
    /// [`Cancel`]. It keeps its slot until it returns, so abandoned jobs still count against the pool.
    ///
    /// # Errors
    /// Returns [`Rejected`] if the queue is full, the budget is exceeded, or the job panics.
    pub async fn run<T: Send + 'static>(
        &'static self,
        budget: Duration,
        job: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Rejected> {
        let cancel = Cancel {
            abandoned: Arc::default(),
            deadline: Instant::now() + budget,
        };
        let queued = self.enqueue()?;
        // The semaphore is never closed, so the only possible error is that the deadline has passed.
        let Ok(Ok(slot)) = timeout_at(cancel.deadline, self.slots.acquire()).await else {
            return Err(Rejected::TimedOut(self.name));
        };
        drop(queued);
        let _abandon = AbandonOnDrop(Arc::clone(&cancel.abandoned));
        let deadline = cancel.deadline;
        let running = tokio::task::spawn_blocking(move || {
            let (_slot, _worker) = (slot, FlagGuard::set(&ON_WORKER));
            job(&cancel)
        });
        match timeout_at(deadline, running).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(pool = self.name, %error, "a compute job panicked");
                Err(Rejected::Panicked(self.name))
            }
            Err(_) => Err(Rejected::TimedOut(self.name)),
        }
    }

    fn enqueue(&self) -> Result<Queued<'_>, Rejected> {
        let queued = Queued(&self.queued);
        // `queued` also counts jobs that only pass through the queue because a slot is free for them.
        if self.queued.fetch_add(1, Ordering::Relaxed) >= self.queue {
            return Err(Rejected::QueueFull(self.name));
        }
        Ok(queued)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn runs_jobs_on_worker_threads() {
        static POOL: ComputePool = ComputePool::new("test", 1, 1);
        assert!(!is_worker());
        assert_eq!(POOL.run(LONG, |_| is_worker()).await, Ok(true));
        assert_eq!(
            POOL.run(LONG, |_| panic!("on purpose")).await,
            Err::<(), _>(Rejected::Panicked("test"))
        );
        assert_eq!(
            tokio::task::spawn_blocking(is_worker).await.ok(),
            Some(false),
            "a panic resets the mark"
        );
    }

    #[tokio::test]
    async fn rejects_jobs_beyond_the_queue_and_cancels_abandoned_ones() {
        static POOL: ComputePool = ComputePool::new("test", 1, 1);
        let (started, starts) = mpsc::channel();
        let (finished, ends) = mpsc::channel();
        let first = tokio::spawn(POOL.run(LONG, move |cancel| {
            started.send(()).ok();
            while !cancel.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            finished.send(()).ok();
        }));
        tokio::task::spawn_blocking(move || starts.recv()).await.unwrap().unwrap();
        let second = tokio::spawn(POOL.run(LONG, |_| 2));
        while POOL.queued.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(POOL.run(LONG, |_| 3).await, Err(Rejected::QueueFull("test")));
        first.abort();
        assert_eq!(second.await.unwrap(), Ok(2), "the slot is free once the abandoned job has ended");
        ends.try_recv().unwrap();
    }

    #[tokio::test]
    async fn exceeded_budget_ends_the_wait() {
        static POOL: ComputePool = ComputePool::new("test", 1, 1);
        let late = POOL.run(Duration::ZERO, |_| std::thread::sleep(Duration::from_millis(50))).await;
        assert_eq!(late, Err(Rejected::TimedOut("test")));
    }
}
