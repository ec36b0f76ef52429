//! Measures how much CPU time each poll of a task takes, using the operating system's per-thread CPU clock. Active only with the feature
//! `faults` and the switch `measure`. A poll is logged if it takes longer than all earlier polls of the same kind of task.

#[cfg(feature = "faults")]
mod on {
    use std::{
        cell::Cell,
        collections::BTreeMap,
        pin::{Pin, pin},
        sync::{Mutex, PoisonError},
        task::{Context, Poll},
    };

    use http_body::{Body, Frame, SizeHint};
    use rustix::time::{ClockId, clock_gettime};

    use crate::is_measuring;

    /// Slices of work that take longer than this, in microseconds, are always logged.
    const LONG: u64 = 10_000;

    thread_local! {
        /// The CPU time in microseconds that this thread spent in calls to `off_worker`, during which another thread acts as the runtime's
        /// worker.
        static OFF_WORKER: Cell<u64> = const { Cell::new(0) };
    }

    /// Runs a step whose CPU time does not count towards the enclosing slice of work, because another thread acts as the runtime's worker
    /// while the step runs.
    pub fn off_worker<T>(step: impl FnOnce() -> T) -> T {
        if !is_measuring() {
            return step();
        }
        let before = thread_cpu();
        let done = step();
        let micros = thread_cpu().saturating_sub(before);
        OFF_WORKER.set(OFF_WORKER.get() + micros);
        done
    }

    /// Runs `work` and measures its CPU time, not counting the time spent in `off_worker`.
    fn slice<T>(kind: &'static str, work: impl FnOnce() -> T) -> T {
        static LONGEST: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
        if !is_measuring() {
            return work();
        }
        let (before, off_worker) = (thread_cpu(), OFF_WORKER.get());
        let done = work();
        let off_worker = OFF_WORKER.get() - off_worker;
        let micros = thread_cpu().saturating_sub(before + off_worker);
        let mut longest = LONGEST.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = longest.entry(kind).or_default();
        if micros > LONG {
            tracing::info!(kind, micros, off_worker, "a slice of work exceeded 10 ms of CPU time");
        }
        if micros > *longest {
            *longest = micros;
            tracing::info!(kind, micros, "longest slice of work of this kind so far");
        }
        done
    }

    /// Returns the CPU time of this thread in microseconds.
    fn thread_cpu() -> u64 {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        u64::try_from(used.tv_sec * 1_000_000 + used.tv_nsec / 1_000).unwrap_or_default()
    }

    /// Runs a task and measures the CPU time of each poll.
    pub async fn measured<T>(kind: &'static str, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        std::future::poll_fn(move |cx| slice(kind, || task.as_mut().poll(cx))).await
    }

    /// A response body that measures the CPU time of each poll.
    #[derive(Debug)]
    pub struct MeasuredBody<B> {
        kind: &'static str,
        body: Pin<Box<B>>,
    }

    impl<B: Body> Body for MeasuredBody<B> {
        type Data = B::Data;
        type Error = B::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
            let kind = self.kind;
            slice(kind, || self.body.as_mut().poll_frame(cx))
        }

        fn is_end_stream(&self) -> bool {
            self.body.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            self.body.size_hint()
        }
    }

    /// Returns a function that wraps a response body so that its polls are measured. The function can be passed to a layer that maps
    /// response bodies.
    pub fn measured_bodies<B>(kind: &'static str) -> impl Fn(B) -> MeasuredBody<B> + Clone {
        move |body| MeasuredBody {
            kind,
            body: Box::pin(body),
        }
    }
}

#[cfg(not(feature = "faults"))]
mod off {
    /// Returns the task unchanged: polls are measured only with the feature `faults`.
    pub fn measured<F: Future>(_: &'static str, task: F) -> F {
        task
    }

    pub fn off_worker<T>(step: impl FnOnce() -> T) -> T {
        step()
    }

    /// Returns a function that leaves response bodies unchanged: polls are measured only with the feature `faults`.
    pub fn measured_bodies<B>(_: &'static str) -> impl Fn(B) -> B + Clone {
        |body| body
    }
}

#[cfg(not(feature = "faults"))]
pub use off::{measured, measured_bodies, off_worker};
#[cfg(feature = "faults")]
pub use on::{measured, measured_bodies, off_worker};
