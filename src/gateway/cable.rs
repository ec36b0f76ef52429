//! The WebSocket at `/cable`: Action Cable's JSON protocol over the same log, for front ends and mobile clients as they are.

use std::{collections::HashMap, time::Duration};

use axum::{
    Extension,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Code, Streaming};

use super::{
    call::Call,
    json::push::{frames, typing},
};
use crate::pb::{self, PubsubKey};

/// The subprotocol that clients offer.
const PROTOCOL: &str = "actioncable-v1-json";

/// How often the server says that it is there; clients give up after two misses.
const PING: Duration = Duration::from_secs(3);

/// Bytes of a frame that is taken.
const FRAME_BYTES: usize = 64 * 1024;

/// Subscriptions of one connection, at most.
const SUBSCRIPTIONS: usize = 16;

/// Frames that wait for a client.
const WAITING: usize = 64;

/// How long a client may take for one.
const PATIENCE: Duration = Duration::from_mins(1);

/// Cancelled when connections shall end; an extension of every request.
#[derive(Clone, Debug)]
pub struct Drain(pub CancellationToken);

/// What a client says.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "command")]
    verb: String,
    identifier: String,
    #[serde(default)]
    data: String,
}

/// What an identifier holds.
#[derive(Debug, Deserialize)]
struct Identifier {
    channel: String,
    pubsub_token: String,
    account_id: Option<i64>,
    user_id: Option<i64>,
}

/// What goes to the client.
enum Out {
    Frame(Json),
    /// The connection ends; the client shall come back.
    Leave,
}

/// Opens a connection. It needs no credential; each subscription brings one.
pub async fn open(call: Call, Extension(Drain(drain)): Extension<Drain>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(FRAME_BYTES)
        .max_frame_size(FRAME_BYTES)
        .on_upgrade(move |socket| async move {
            let mut connection = Connection {
                call: std::sync::Arc::new(call),
                socket,
                subscriptions: HashMap::new(),
            };
            connection.run(drain).await;
        })
}

struct Connection {
    call: std::sync::Arc<Call>,
    socket: WebSocket,
    /// By identifier, byte for byte.
    subscriptions: HashMap<String, Subscribed>,
}

/// A subscription; what is done for it ends with it.
struct Subscribed {
    key: PubsubKey,
    _following: AbortOnDropHandle<()>,
    /// The report that its owner is there, the last that was asked for.
    reporting: Option<AbortOnDropHandle<()>>,
}

impl Connection {
    async fn run(&mut self, drain: CancellationToken) {
        let (out, mut outgoing) = mpsc::channel(WAITING);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if !self.say(&json!({ "type": "welcome" })).await {
            return;
        }
        loop {
            let said = tokio::select! {
                () = drain.cancelled() => break,
                _ = pings.tick() => json!({ "type": "ping", "message": chrono::Utc::now().timestamp() }),
                frame = outgoing.recv() => match frame {
                    Some(Out::Frame(frame)) => frame,
                    Some(Out::Leave) | None => break,
                },
                heard = self.socket.recv() => match heard {
                    Some(Ok(Message::Text(text))) => {
                        self.obey(text.as_str(), &out);
                        continue;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
            };
            if !self.say(&said).await {
                return;
            }
        }
        let farewell = json!({ "type": "disconnect", "reason": "server_restart", "reconnect": true });
        if self.say(&farewell).await {
            // Whether it arrives is the client's business from here on.
            let _ = timeout(PING, self.socket.send(Message::Close(None))).await;
        }
    }

    /// Sends a frame; whether the client took it.
    async fn say(&mut self, frame: &Json) -> bool {
        let sent = timeout(PATIENCE, self.socket.send(Message::text(frame.to_string()))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// What cannot be read is passed over, as Action Cable does.
    fn obey(&mut self, text: &str, out: &mpsc::Sender<Out>) {
        let Ok(command) = serde_json::from_str::<Said>(text) else {
            return;
        };
        match command.verb.as_str() {
            "subscribe" if !self.subscriptions.contains_key(&command.identifier) => self.subscribe(command.identifier, out),
            "unsubscribe" => drop(self.subscriptions.remove(&command.identifier)),
            "message" => {
                let asked: Json = serde_json::from_str(&command.data).unwrap_or_default();
                if asked["action"] == "update_presence"
                    && let Some(subscribed) = self.subscriptions.get_mut(&command.identifier)
                    // One at a time: a client that asks faster is told no more often.
                    && subscribed.reporting.as_ref().is_none_or(AbortOnDropHandle::is_finished)
                {
                    let (call, key, out) = (self.call.clone(), subscribed.key.clone(), out.clone());
                    let report = async move { presence(&call, &command.identifier, key, &out).await };
                    subscribed.reporting = Some(AbortOnDropHandle::new(tokio::spawn(report)));
                }
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, identifier: String, out: &mpsc::Sender<Out>) {
        let key = serde_json::from_str::<Identifier>(&identifier)
            .ok()
            .filter(|asked| asked.channel == "RoomChannel" && self.subscriptions.len() < SUBSCRIPTIONS)
            .map(|asked| PubsubKey {
                pubsub_token: asked.pubsub_token,
                account_id: asked.account_id,
                user_id: asked.user_id,
            });
        // A key that is none is refused by the service as any other.
        let key = key.unwrap_or_default();
        let following = follow(self.call.clone(), identifier.clone(), key.clone(), out.clone());
        let subscribed = Subscribed {
            key,
            _following: AbortOnDropHandle::new(tokio::spawn(following)),
            reporting: None,
        };
        self.subscriptions.insert(identifier, subscribed);
    }
}

/// Follows what a key may hear, until the subscription is dropped.
async fn follow(call: std::sync::Arc<Call>, identifier: String, key: PubsubKey, out: mpsc::Sender<Out>) {
    let request = pb::SubscribePubsubRequest { key: Some(key.clone()) };
    let told = |kind: &str| Out::Frame(json!({ "identifier": identifier, "type": kind }));
    let stream = match call.pubsub().subscribe_pubsub(call.request(request)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            let busy = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            // An error says that the connection has gone.
            let _ = out.send(if busy { Out::Leave } else { told("reject_subscription") }).await;
            return;
        }
    };
    if out.send(told("confirm_subscription")).await.is_err() {
        return;
    }
    presence(&call, &identifier, key.clone(), &out).await;
    if tell(stream, &identifier, &key, &out).await.is_ok() {
        // The stream ended by itself: whoever comes back hears on.
        let _ = out.send(Out::Leave).await;
    }
}

/// Tells each event, until the stream ends; an error says that the connection has gone.
async fn tell(
    mut stream: Streaming<pb::SubscribePubsubResponse>,
    identifier: &str,
    key: &PubsubKey,
    out: &mpsc::Sender<Out>,
) -> Result<(), ()> {
    while let Ok(Some(response)) = stream.message().await {
        let events = response.events.iter().filter_map(|delivery| delivery.event.as_ref());
        let durable = events.flat_map(|event| frames(event, key.user_id));
        for (event, data) in durable.chain(response.ephemeral.iter().map(typing)) {
            let frame = json!({ "identifier": identifier, "message": { "event": event, "data": data } });
            out.send(Out::Frame(frame)).await.map_err(drop)?;
        }
    }
    Ok(())
}

/// Notes that the key's owner is there, and tells it who else is.
async fn presence(call: &Call, identifier: &str, key: PubsubKey, out: &mpsc::Sender<Out>) {
    let of_user = key.user_id.is_some();
    let request = pb::ReportPubsubPresenceRequest {
        key: Some(key),
        request_id: String::new(),
    };
    let Ok(present) = call.pubsub().report_pubsub_presence(call.request(request)).await else {
        return;
    };
    let present = present.into_inner();
    let mut data = json!({ "account_id": present.account_id, "users": present.users });
    if of_user {
        data["contacts"] = json!(present.contacts);
    }
    let frame = json!({ "identifier": identifier, "message": { "event": "presence.update", "data": data } });
    let _ = out.send(Out::Frame(frame)).await;
}
