//! The WebSocket at `/cable`: Action Cable's JSON protocol on top of the event log, for existing Chatwoot front ends and mobile clients.
//!
//! Anyone may open a connection, so its resources are bounded: subscriptions (including pending ones), the length of identifiers, frames
//! per second, and bytes queued for the client. The memory of these resources is charged to the budget for requests. Outgoing frames are
//! queued in `outbox`.

mod outbox;
mod subscription;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    http::{Extensions, HeaderMap},
    response::Response,
};
use parley_admission::{
    rate_limit::{AnonymousLimits, Resource},
    request_memory::{MEMORY_PER_BYTE, RequestMemory, RequestSender},
};
use parley_fault::Protection;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{call::Call, errors::ApiError};
use outbox::{Outbox, Outgoing};
use subscription::Subscription;

/// The WebSocket subprotocol that Action Cable clients request.
const PROTOCOL: &str = "actioncable-v1-json";

/// The interval between pings to the client. Clients reconnect after two missed pings.
const PING: Duration = Duration::from_secs(3);

/// Maximum bytes of a received frame: enough for an escaped identifier and the other fields.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes of memory charged per connection: the read buffer, and the identifiers and state of a few subscriptions.
const CONNECTION_BYTES: usize = FRAME_BYTES + 16 * 1024;

/// Maximum bytes of a subscription identifier. The identifiers of Chatwoot's front end are about 150 bytes long.
const IDENTIFIER_BYTES: usize = 2048;

/// Maximum subscriptions per connection, including pending ones.
const SUBSCRIPTIONS: usize = 16;

/// The burst size and the rate per second of received frames. Front ends send one frame per subscription, and then one every 20 seconds.
const FRAMES_AT_ONCE: f64 = 240.0;
const FRAMES_PER_SECOND: f64 = 20.0;

/// Maximum time to send one frame to the client.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// Cancelled on shutdown, to close all WebSocket connections. Stored in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Drain(pub CancellationToken);

/// A command from the client.
#[derive(Debug, Deserialize)]
struct Command {
    #[serde(rename = "command")]
    verb: String,
    identifier: String,
    /// The action to perform: a JSON object, or a string that contains one. Absent or null if the command has no action.
    #[serde(default)]
    data: Json,
}

impl Command {
    fn action(&self) -> Option<String> {
        let read = |data: &Json| data["action"].as_str().map(str::to_owned);
        match &self.data {
            Json::String(text) => read(&serde_json::from_str(text).ok()?),
            data => read(data),
        }
    }
}

/// Opens a connection. The connection needs no credential, because each subscription has its own.
pub async fn open(
    call: Call,
    Extension(Drain(drain)): Extension<Drain>,
    Extension(limits): Extension<Arc<AnonymousLimits>>,
    Extension(memory): Extension<RequestMemory>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let address = call.address();
    limits.call(address)?;
    let permit = limits.open(address, Resource::Stream)?;
    let charge = Arc::new(memory.charge(memory.holder(&RequestSender::of(&headers, &extensions))));
    charge.add(CONNECTION_BYTES / MEMORY_PER_BYTE).map_err(|_| ApiError::no_memory())?;
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(FRAME_BYTES)
        .max_frame_size(FRAME_BYTES)
        .read_buffer_size(FRAME_BYTES)
        .on_upgrade(move |socket| async move {
            let (outbox, mut outgoing) = outbox::open(charge);
            let mut connection = Connection {
                call: Arc::new(call),
                socket,
                subscriptions: HashMap::new(),
                frame_budget: FrameBudget::new(),
                outbox,
            };
            connection.run(drain, &mut outgoing).await;
            drop(permit);
        }))
}

struct Connection {
    call: Arc<Call>,
    socket: WebSocket,
    /// The subscriptions by their identifiers, which are compared byte for byte. There are at most [`SUBSCRIPTIONS`]. A rejected
    /// subscription is removed before the client is notified.
    subscriptions: HashMap<String, Subscription>,
    frame_budget: FrameBudget,
    outbox: Outbox,
}

/// What the connection does after it has handled a command.
enum Next {
    Continue,
    Send(Json),
    /// The client violated the protocol: send a disconnect frame and close the connection.
    Refuse,
}

/// Why the server closes a connection.
enum End {
    /// The client should reconnect.
    Restart,
    Refused,
}

impl Connection {
    async fn run(&mut self, drain: CancellationToken, outgoing: &mut outbox::Receiver) {
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if !self.send(json!({ "type": "welcome" }).to_string()).await {
            return;
        }
        let end = loop {
            let frame = tokio::select! {
                () = drain.cancelled() => break End::Restart,
                _ = pings.tick() => json!({ "type": "ping", "message": chrono::Utc::now().timestamp() }).to_string(),
                queued = outgoing.next() => match queued {
                    Outgoing::Frame(frame) => frame,
                    Outgoing::Rejected(identifier) => {
                        self.subscriptions.remove(&identifier);
                        subscription::frame(&identifier, "reject_subscription").to_string()
                    }
                    Outgoing::Leave => break End::Restart,
                },
                received = self.socket.recv() => {
                    let next = match received {
                        Some(Ok(_)) if !self.frame_budget.take() => Next::Refuse,
                        Some(Ok(Message::Text(text))) => self.handle_command(text.as_str()),
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => Next::Continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    };
                    match next {
                        Next::Continue => continue,
                        Next::Send(frame) => frame.to_string(),
                        Next::Refuse => break End::Refused,
                    }
                },
            };
            if !self.send(frame).await {
                return;
            }
        };
        // End the subscriptions now rather than after the disconnect frame is sent, because a slow client may delay that frame.
        self.subscriptions.clear();
        let farewell = match end {
            End::Restart => json!({ "type": "disconnect", "reason": "server_restart", "reconnect": true }),
            End::Refused => json!({ "type": "disconnect", "reason": "invalid_request", "reconnect": false }),
        };
        if self.send(farewell.to_string()).await {
            // Ignore errors, because the connection ends in any case.
            let _ = timeout(PING, self.socket.send(Message::Close(None))).await;
        }
    }

    /// Sends a frame, and returns whether it was sent in time. The connection receives nothing in the meantime, so a slow client delays
    /// only itself.
    async fn send(&mut self, frame: String) -> bool {
        let sent = timeout(SEND_TIMEOUT, self.socket.send(Message::text(frame))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Handles a command. Invalid commands are ignored, as in Action Cable.
    fn handle_command(&mut self, text: &str) -> Next {
        let Ok(command) = serde_json::from_str::<Command>(text) else {
            return Next::Continue;
        };
        if command.identifier.len() > IDENTIFIER_BYTES {
            return Next::Refuse;
        }
        match command.verb.as_str() {
            "subscribe" if !self.subscriptions.contains_key(&command.identifier) => return self.subscribe(command.identifier),
            "unsubscribe" => drop(self.subscriptions.remove(&command.identifier)),
            "message" => {
                if command.action().as_deref() == Some("update_presence")
                    && let Some(subscription) = self.subscriptions.get_mut(&command.identifier)
                {
                    subscription.report_presence(&self.call, command.identifier, &self.outbox);
                }
            }
            _ => {}
        }
        Next::Continue
    }

    fn subscribe(&mut self, identifier: String) -> Next {
        let has_room = self.subscriptions.len() < SUBSCRIPTIONS || !parley_fault::is_on(Protection::CableSubscriptions);
        match subscription::key(&identifier) {
            Some(key) if has_room => {
                let subscription = Subscription::open(&self.call, identifier.clone(), key, &self.outbox);
                self.subscriptions.insert(identifier, subscription);
                Next::Continue
            }
            _ => Next::Send(subscription::frame(&identifier, "reject_subscription")),
        }
    }
}

/// Parses a frame in the same way as a connection does. Used by the fuzz targets.
#[cfg(feature = "faults")]
pub fn read_frame(text: &str) {
    if text.len() > FRAME_BYTES {
        return;
    }
    if let Ok(command) = serde_json::from_str::<Command>(text) {
        let _ = subscription::key(&command.identifier);
        let _ = command.action();
    }
}

/// The remaining number of frames that a client may send (a token bucket).
struct FrameBudget {
    left: f64,
    at: Instant,
}

impl FrameBudget {
    fn new() -> Self {
        Self {
            left: FRAMES_AT_ONCE,
            at: Instant::now(),
        }
    }

    /// Counts a received frame, and returns whether the client was allowed to send it.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * FRAMES_PER_SECOND;
        self.at = now;
        self.left = (self.left + earned).min(FRAMES_AT_ONCE) - 1.0;
        self.left >= 0.0 || !parley_fault::is_on(Protection::CableFrames)
    }
}
