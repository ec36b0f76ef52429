//! Frames that wait for a client: bounded in number and in bytes, whatever the number of subscriptions behind them.

use std::sync::Arc;

use parley_admission::request_memory::{Charge, FACTOR};
use serde_json::Value as Json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Frames that wait for a client.
const FRAMES: usize = 64;

/// Bytes of frames that wait for a client. A single larger frame waits alone.
const BYTES: u32 = 256 * 1024;

/// What goes to the client.
pub enum Outgoing {
    /// A frame.
    Frame(String),
    /// The subscription of this identifier was rejected.
    Rejected(String),
    /// The connection ends; the client shall come back.
    Leave,
}

/// The connection has gone.
#[derive(Debug)]
pub struct Gone;

/// What a frame takes while it waits.
struct Waiting {
    _room: OwnedSemaphorePermit,
    charge: Arc<Charge>,
    charged: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.charge.release(self.charged);
    }
}

/// Where subscriptions put their frames. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<(Outgoing, Waiting)>,
    bytes: Arc<Semaphore>,
    charge: Arc<Charge>,
}

/// Where the connection takes them from.
pub struct Receiver {
    queue: mpsc::Receiver<(Outgoing, Waiting)>,
}

/// An outbox with nothing in it, for a connection whose memory is charged so. Frames that wait are charged beside it: they are bounded by
/// themselves, so they are never refused.
pub fn open(charge: Arc<Charge>) -> (Outbox, Receiver) {
    let (sender, receiver) = mpsc::channel(FRAMES);
    let outbox = Outbox {
        queue: sender,
        bytes: Arc::new(Semaphore::new(BYTES as usize)),
        charge,
    };
    (outbox, Receiver { queue: receiver })
}

impl Outbox {
    /// Queues a frame, and waits while there is no room for it. Cancel safe: what is cancelled is not sent.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn frame(&self, frame: &Json) -> Result<(), Gone> {
        self.put(Outgoing::Frame(frame.to_string())).await
    }

    /// As [`Self::frame`], for anything.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn put(&self, outgoing: Outgoing) -> Result<(), Gone> {
        let bytes = match &outgoing {
            Outgoing::Frame(text) | Outgoing::Rejected(text) => text.len(),
            Outgoing::Leave => 0,
        };
        let charged = bytes.div_ceil(FACTOR);
        let bytes = u32::try_from(bytes).unwrap_or(BYTES).min(BYTES);
        let room = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.charge.grow(charged);
        let waiting = Waiting {
            _room: room,
            charge: Arc::clone(&self.charge),
            charged,
        };
        self.queue.send((outgoing, waiting)).await.map_err(|_| Gone)
    }
}

impl Receiver {
    /// The next frame. Cancel safe. The connection holds an outbox itself, so there is always another to come.
    pub async fn next(&mut self) -> Outgoing {
        self.queue.recv().await.map_or(Outgoing::Leave, |(outgoing, _waiting)| outgoing)
    }
}
