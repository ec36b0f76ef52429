//! The WebSocket at `/cable`: Action Cable's JSON protocol over the same log, for front ends and mobile clients as they are.
//!
//! Anybody may open a connection, so what one holds is bounded: subscriptions (those that wait for their answer included), the length of
//! identifiers, frames a second, and bytes that wait for the client. All of it is charged to the memory of requests. What a connection sends
//! goes through `outbox`.

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
    request_memory::{FACTOR, RequestMemory, Sender},
};
use parley_fault::Protection;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{call::Call, errors::Failure};
use outbox::{Outbox, Outgoing};
use subscription::Subscription;

/// The subprotocol that clients offer.
const PROTOCOL: &str = "actioncable-v1-json";

/// How often the server says that it is there; clients give up after two misses.
const PING: Duration = Duration::from_secs(3);

/// Bytes of a frame that is taken: an identifier, escaped, and what goes with it.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes of memory that each connection is charged for: the buffer that frames are read into, and identifiers of a few subscriptions with
/// what belongs to them.
const CONNECTION_BYTES: usize = FRAME_BYTES + 16 * 1024;

/// Bytes of an identifier. Those of Chatwoot's front end have about 150.
const IDENTIFIER_BYTES: usize = 2048;

/// Subscriptions of one connection, at most; those that wait for their answer count.
const SUBSCRIPTIONS: usize = 16;

/// Frames that a client may send at once, and then each second. Front ends send one for each subscription, and one every 20 seconds.
const FRAMES_AT_ONCE: f64 = 240.0;
const FRAMES_PER_SECOND: f64 = 20.0;

/// How long a client may take for one frame.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// Cancelled when connections shall end; an extension of every request.
#[derive(Clone, Debug)]
pub struct Drain(pub CancellationToken);

/// What a client says.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "command")]
    verb: String,
    identifier: String,
    /// A JSON object, as a text or as it is; absent or null without an action.
    #[serde(default)]
    data: Json,
}

impl Said {
    fn action(&self) -> Option<String> {
        let read = |data: &Json| data["action"].as_str().map(str::to_owned);
        match &self.data {
            Json::String(text) => read(&serde_json::from_str(text).ok()?),
            data => read(data),
        }
    }
}

/// Opens a connection. It needs no credential; each subscription brings one.
pub async fn open(
    call: Call,
    Extension(Drain(drain)): Extension<Drain>,
    Extension(limits): Extension<Arc<AnonymousLimits>>,
    Extension(memory): Extension<RequestMemory>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let address = call.address();
    limits.call(address)?;
    let permit = limits.open(address, Resource::Stream)?;
    let charge = Arc::new(memory.charge(memory.holder(&Sender::of(&headers, &extensions))));
    charge.add(CONNECTION_BYTES / FACTOR).map_err(|_| Failure::no_memory())?;
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
                allowance: Allowance::new(),
                outbox,
            };
            connection.run(drain, &mut outgoing).await;
            drop(permit);
        }))
}

struct Connection {
    call: Arc<Call>,
    socket: WebSocket,
    /// By identifier, byte for byte. At most [`SUBSCRIPTIONS`]; one that is rejected is removed before its client is notified.
    subscriptions: HashMap<String, Subscription>,
    allowance: Allowance,
    outbox: Outbox,
}

/// What follows from a frame of the client's.
enum Next {
    Continue,
    Send(Json),
    /// The client broke the protocol: it receives a disconnect frame, and the connection ends.
    Refuse,
}

/// How a connection ends that the server ends.
enum End {
    /// The client shall come back.
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
                        Some(Ok(_)) if !self.allowance.take() => Next::Refuse,
                        Some(Ok(Message::Text(text))) => self.obey(text.as_str()),
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
        // What was done for the subscriptions ends here, and not when the client takes its farewell.
        self.subscriptions.clear();
        let farewell = match end {
            End::Restart => json!({ "type": "disconnect", "reason": "server_restart", "reconnect": true }),
            End::Refused => json!({ "type": "disconnect", "reason": "invalid_request", "reconnect": false }),
        };
        if self.send(farewell.to_string()).await {
            // Whether it arrives is the client's business from here on.
            let _ = timeout(PING, self.socket.send(Message::Close(None))).await;
        }
    }

    /// Sends a frame; whether the client took it. Nothing is read meanwhile, so a client that takes nothing holds up only itself.
    async fn send(&mut self, frame: String) -> bool {
        let sent = timeout(SEND_TIMEOUT, self.socket.send(Message::text(frame))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// What cannot be read is passed over, as Action Cable does.
    fn obey(&mut self, text: &str) -> Next {
        let Ok(command) = serde_json::from_str::<Said>(text) else {
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

/// Reads a frame as a connection does, for the fuzz targets.
#[cfg(feature = "faults")]
pub fn read_frame(text: &str) {
    if text.len() > FRAME_BYTES {
        return;
    }
    if let Ok(command) = serde_json::from_str::<Said>(text) {
        let _ = subscription::key(&command.identifier);
        let _ = command.action();
    }
}

/// How many frames a client may still send.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self {
            left: FRAMES_AT_ONCE,
            at: Instant::now(),
        }
    }

    /// Counts a frame; whether it may be taken.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * FRAMES_PER_SECOND;
        self.at = now;
        self.left = (self.left + earned).min(FRAMES_AT_ONCE) - 1.0;
        self.left >= 0.0 || !parley_fault::is_on(Protection::CableFrames)
    }
}
