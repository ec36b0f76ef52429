//! The queue of frames for a client. The number and the total size of queued frames are bounded, regardless of the number of subscriptions.

use std::sync::Arc;

use parley_admission::request_memory::{MEMORY_PER_BYTE, MemoryCharge};
use serde_json::Value as Json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Maximum number of queued frames.
const FRAMES: usize = 64;

/// Maximum total bytes of queued frames. A frame that is larger than this is queued alone.
const BYTES: u32 = 256 * 1024;

/// An item that is queued for the client.
pub enum Outgoing {
    /// A frame to send.
    Frame(String),
    /// The subscription with this identifier was rejected.
    Rejected(String),
    /// Close the connection, and tell the client to reconnect.
    Leave,
}

/// The connection has been closed.
#[derive(Debug)]
pub struct ConnectionClosed;

/// The queue space and the memory that a queued frame occupies. Released on drop.
struct Waiting {
    _room: OwnedSemaphorePermit,
    charge: Arc<MemoryCharge>,
    charged: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.charge.release(self.charged);
    }
}

/// The sending half of the queue, used by subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<(Outgoing, Waiting)>,
    bytes: Arc<Semaphore>,
    charge: Arc<MemoryCharge>,
}

/// The receiving half of the queue, used by the connection.
pub struct Receiver {
    queue: mpsc::Receiver<(Outgoing, Waiting)>,
}

/// Creates an empty outbox for a connection. `charge` is the connection's memory charge, to which queued frames are added. The outbox
/// itself bounds the queued frames, so they are never rejected for lack of memory.
pub fn open(charge: Arc<MemoryCharge>) -> (Outbox, Receiver) {
    let (sender, receiver) = mpsc::channel(FRAMES);
    let outbox = Outbox {
        queue: sender,
        bytes: Arc::new(Semaphore::new(BYTES as usize)),
        charge,
    };
    (outbox, Receiver { queue: receiver })
}

impl Outbox {
    /// Queues a frame; waits while the outbox is full. Cancel safe: a cancelled call sends nothing.
    ///
    /// # Errors
    /// Returns [`ConnectionClosed`] if the connection has been closed.
    pub async fn frame(&self, frame: &Json) -> Result<(), ConnectionClosed> {
        self.put(Outgoing::Frame(frame.to_string())).await
    }

    /// Like [`Self::frame`], but queues any item.
    ///
    /// # Errors
    /// Returns [`ConnectionClosed`] if the connection has been closed.
    pub async fn put(&self, outgoing: Outgoing) -> Result<(), ConnectionClosed> {
        let bytes = match &outgoing {
            Outgoing::Frame(text) | Outgoing::Rejected(text) => text.len(),
            Outgoing::Leave => 0,
        };
        let charged = bytes.div_ceil(MEMORY_PER_BYTE);
        let bytes = u32::try_from(bytes).unwrap_or(BYTES).min(BYTES);
        let room = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| ConnectionClosed)?;
        self.charge.grow(charged);
        let waiting = Waiting {
            _room: room,
            charge: Arc::clone(&self.charge),
            charged,
        };
        self.queue.send((outgoing, waiting)).await.map_err(|_| ConnectionClosed)
    }
}

impl Receiver {
    /// Receives the next item. Cancel safe. The connection itself holds a sending half, so the queue is never closed while the connection
    /// runs.
    pub async fn next(&mut self) -> Outgoing {
        self.queue.recv().await.map_or(Outgoing::Leave, |(outgoing, _waiting)| outgoing)
    }
}
