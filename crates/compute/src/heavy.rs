//! Runs the heavy steps of a request: CPU-bound work whose duration grows with the size of the request body or response. Such a step
//! borrows from the request, so it cannot be passed to a pool.
//!
//! A heavy step runs in place, while another thread takes over the runtime's worker (`block_in_place`). The number of heavy steps that run
//! this way at once is limited to half the number of processors; further steps block their worker. Small steps always stay on their worker,
//! because handing over a worker costs a few microseconds.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    thread::available_parallelism,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use opentelemetry::metrics::Counter;
use parley_fault::Protection;
use parley_telemetry::names::{self, meter};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::block_in_place,
};

use super::{FlagGuard, is_worker};

/// The maximum size in bytes of a message or response whose steps stay on the worker; at this size, a step takes a few milliseconds. For
/// larger sizes, other threads become workers, and each of them keeps the memory that it allocates as a worker, so most calls should stay
/// below this size.
pub const HEAVY_ABOVE: usize = 128 * 1024;

static SLOTS: OnceLock<Semaphore> = OnceLock::new();

static STEPS: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::HEAVY_STEPS).with_unit("{step}").build());

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Allows heavy steps in this process to run outside the runtime's workers. Must not be called in a process that only uses the client
/// library, because its tasks may run where no worker can be handed over.
pub fn enable() {
    SLOTS.get_or_init(|| Semaphore::new(available_parallelism().map_or(1, |count| count.get().div_ceil(2))));
}

/// Returns whether the current thread can hand over its worker. `block_in_place` panics on a single-threaded runtime.
fn is_on_runtime() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Runs a heavy step: outside of the runtime's workers if there is a free slot, otherwise in place.
pub fn heavy<T>(step: impl FnOnce() -> T) -> T {
    let Some(slots) = SLOTS.get() else { return step() };
    // Run a step in place if it is nested in another heavy step or runs in a pool job: such a step is not on one of the runtime's workers.
    if INSIDE.get() || is_worker() || !is_on_runtime() || !parley_fault::is_on(Protection::HeavySteps) {
        return step();
    }
    let Ok(_slot) = slots.try_acquire() else { return step() };
    STEPS.add(1, &[]);
    let _inside = FlagGuard::set(&INSIDE);
    parley_fault::off_worker(|| block_in_place(step))
}

/// Whether the rest of a request runs as heavy steps, because its body or its response is large.
#[derive(Debug, Default)]
pub struct Weight(AtomicBool);

/// A request with a [`Weight`], which records whether it is heavy because of a large body or response.
pub trait HasWeight {
    fn weight(&self) -> &Weight;
}

impl Weight {
    /// Marks the request as heavy: from now on, it is polled in heavy steps.
    pub fn add(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the request is heavy, that is, polled in heavy steps.
    pub fn is_heavy(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs one poll of the request, as a heavy step if the request is heavy.
    fn poll<T>(&self, poll: impl FnOnce() -> T) -> T {
        if self.is_heavy() { heavy(poll) } else { poll() }
    }

    /// Runs a future. Its polls are heavy steps once the request is heavy.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| self.poll(|| work.as_mut().poll(cx))).await
    }
}

/// A response body whose polls are heavy steps.
#[derive(Debug)]
pub struct HeavyBody<B>(Pin<Box<B>>);

impl<B> HeavyBody<B> {
    /// Wraps the response body of a heavy request.
    pub fn new(body: B) -> Self {
        Self(Box::pin(body))
    }
}

impl<B: Body> Body for HeavyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        heavy(|| self.0.as_mut().poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A request body that marks its request as heavy when the first large frame arrives. The large frame is held back until the next poll, so
/// that its decoding runs as a heavy step.
#[derive(Debug)]
pub struct WeighedBody<B, W> {
    body: B,
    request: W,
    held: Option<Frame<Bytes>>,
}

impl<B, W> WeighedBody<B, W> {
    /// Wraps `body`, the body of `request`.
    pub fn new(body: B, request: W) -> Self {
        Self { body, request, held: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin, W: HasWeight + Unpin> Body for WeighedBody<B, W> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.held.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| data.len() > HEAVY_ABOVE) && !self.request.weight().is_heavy() => {
                self.request.weight().add();
                self.held = Some(frame);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // While a frame is held, this hint does not include the size of that frame, but no caller requests the hint at that time.
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http_body_util::{BodyExt as _, Collected, Full};

    use super::*;

    /// The tests of this process share the slots, and there may be only one.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn heavy_step_does_not_block_other_tasks() {
        let _alone = ALONE.lock().await;
        enable();
        let (sender, receiver) = std::sync::mpsc::channel();
        // This task occupies the only worker, so the value can only be sent by a task that runs on another thread.
        let waited = tokio::spawn(async move {
            tokio::spawn(async move { sender.send(7) });
            heavy(|| heavy(|| receiver.recv_timeout(Duration::from_secs(30))))
        });
        assert_eq!(waited.await.unwrap(), Ok(7));
    }

    #[derive(Clone, Default)]
    struct Request(Arc<Weight>);

    impl HasWeight for Request {
        fn weight(&self) -> &Weight {
            &self.0
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn polls_are_heavy_steps_once_the_request_is_heavy() {
        let _alone = ALONE.lock().await;
        enable();
        let request = Request::default();
        let large = Bytes::from(vec![7; HEAVY_ABOVE + 1]);
        let body = WeighedBody::new(Full::new(large.clone()), request.clone());
        let read = request
            .weight()
            .run(async { (body.collect().await.map(Collected::to_bytes), INSIDE.get()) });
        assert_eq!(read.await, (Ok(large), true));
        let request = Request::default();
        let body = WeighedBody::new(Full::new(Bytes::from(vec![7; HEAVY_ABOVE])), request.clone());
        let read = request
            .weight()
            .run(async { (body.collect().await.map(|read| read.to_bytes().len()), INSIDE.get()) });
        assert_eq!(read.await, (Ok(HEAVY_ABOVE), false));
    }
}
