//! A subscription of a connection at `/cable`. It forwards a stream of `PubsubService` to the client as frames.

use std::sync::Arc;

use parley_proto::{self as pb, PubsubKey};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Streaming};

use super::outbox::{ConnectionClosed, Outbox, Outgoing};
use crate::{
    call::Call,
    json::push::{frames, typing},
};

/// The content of a subscription identifier, in the formats that JavaScript clients send. Unknown keys are ignored.
#[derive(Debug, Deserialize)]
struct Identifier {
    channel: String,
    pubsub_token: String,
    #[serde(default)]
    account_id: Json,
    #[serde(default)]
    user_id: Json,
}

/// An account id or user id in a subscription identifier.
#[derive(Debug, PartialEq, Eq)]
enum GivenId {
    /// The id is absent, null, false, a blank string, or an empty array or object, all of which Rails's `blank?` treats alike.
    Blank,
    Id(i64),
    /// The value cannot be an id.
    Unknown,
}

fn given_id(value: &Json) -> GivenId {
    match value {
        Json::Null | Json::Bool(false) => GivenId::Blank,
        Json::Number(number) => number.as_i64().map_or(GivenId::Unknown, GivenId::Id),
        Json::String(text) if text.trim().is_empty() => GivenId::Blank,
        Json::String(text) => text.trim().parse().map_or(GivenId::Unknown, GivenId::Id),
        Json::Array(values) if values.is_empty() => GivenId::Blank,
        Json::Object(keys) if keys.is_empty() => GivenId::Blank,
        Json::Bool(true) | Json::Array(_) | Json::Object(_) => GivenId::Unknown,
    }
}

/// Parses a subscription identifier. Returns `None` if the channel is unknown or an id is invalid. Without a user id, the token belongs to
/// a contact session, which determines the account, so the account id is ignored.
pub fn key(identifier: &str) -> Option<PubsubKey> {
    let parsed: Identifier = serde_json::from_str(identifier).ok()?;
    if parsed.channel != "RoomChannel" {
        return None;
    }
    let (account_id, user_id) = match (given_id(&parsed.account_id), given_id(&parsed.user_id)) {
        (_, GivenId::Blank) => (None, None),
        (GivenId::Id(account), GivenId::Id(user)) => (Some(account), Some(user)),
        _ => return None,
    };
    Some(PubsubKey {
        pubsub_token: parsed.pubsub_token,
        account_id,
        user_id,
    })
}

/// Creates a frame that reports the state of the subscription itself, such as its confirmation or rejection, and contains no event.
pub fn frame(identifier: &str, kind: &str) -> Json {
    json!({ "identifier": identifier, "type": kind })
}

/// A subscription of a client. Dropping it aborts its tasks.
pub struct Subscription {
    key: PubsubKey,
    _task: AbortOnDropHandle<()>,
    /// The task of the most recent presence report.
    reporting: Option<AbortOnDropHandle<()>>,
}

impl Subscription {
    /// Starts a task that subscribes, notifies the client of the result, and then forwards events.
    pub fn open(call: &Arc<Call>, identifier: String, key: PubsubKey, outbox: &Outbox) -> Self {
        let task = follow(Arc::clone(call), identifier, key.clone(), outbox.clone());
        Self {
            key,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
            reporting: None,
        }
    }

    /// Reports that the subscriber is online. Does nothing while a previous report is still running.
    pub fn report_presence(&mut self, call: &Arc<Call>, identifier: String, outbox: &Outbox) {
        if self.reporting.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let (call, key, outbox) = (Arc::clone(call), self.key.clone(), outbox.clone());
            let report = async move {
                // Ignore the error: sending fails only if the connection has been closed.
                let _ = presence(&call, &identifier, key, &outbox).await;
            };
            self.reporting = Some(AbortOnDropHandle::new(tokio::spawn(report)));
        }
    }
}

/// Runs a subscription until its stream ends or the task is aborted.
async fn follow(call: Arc<Call>, identifier: String, key: PubsubKey, outbox: Outbox) {
    let request = pb::SubscribePubsubRequest { key: Some(key.clone()) };
    let stream = match call.pubsub().subscribe_pubsub(call.request(request)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            let is_busy = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            let answer = if is_busy { Outgoing::Leave } else { Outgoing::Rejected(identifier) };
            // Ignore the error: sending fails only if the connection has been closed.
            let _ = outbox.put(answer).await;
            return;
        }
    };
    if forward_events(stream, &call, &identifier, &key, &outbox).await.is_ok() {
        // The stream has ended. Close the connection, so that the client reconnects and subscribes again.
        let _ = outbox.put(Outgoing::Leave).await;
    }
}

/// Sends each event to the client, until the stream ends.
async fn forward_events(
    mut stream: Streaming<pb::SubscribePubsubResponse>,
    call: &Call,
    identifier: &str,
    key: &PubsubKey,
    outbox: &Outbox,
) -> Result<(), ConnectionClosed> {
    outbox.frame(&frame(identifier, "confirm_subscription")).await?;
    presence(call, identifier, key.clone(), outbox).await?;
    while let Ok(Some(response)) = stream.message().await {
        let events = response.events.iter().filter_map(|delivery| delivery.event.as_ref());
        let durable = events.flat_map(|event| frames(event, key.user_id, response.cache_keys.as_ref()));
        for (event, data) in durable.chain(response.ephemeral.iter().map(typing)) {
            let frame = json!({ "identifier": identifier, "message": { "event": event, "data": data } });
            outbox.frame(&frame).await?;
        }
        if let Some(present) = response.presence {
            let account = key.account_id.unwrap_or_default();
            let data = json!({ "account_id": account, "users": present.users, "contacts": present.contacts });
            outbox.frame(&presence_update(identifier, &data)).await?;
        }
    }
    Ok(())
}

fn presence_update(identifier: &str, data: &Json) -> Json {
    json!({ "identifier": identifier, "message": { "event": "presence.update", "data": data } })
}

/// Reports that the subscriber is online, and sends the current presence list to the subscriber.
async fn presence(call: &Call, identifier: &str, key: PubsubKey, outbox: &Outbox) -> Result<(), ConnectionClosed> {
    let is_user = key.user_id.is_some();
    let request = pb::ReportPubsubPresenceRequest {
        key: Some(key),
        request_id: String::new(),
    };
    let Ok(present) = call.send(request).await else {
        return Ok(());
    };
    let mut data = json!({ "account_id": present.account_id, "users": present.users });
    if is_user {
        data["contacts"] = json!(present.contacts);
    }
    outbox.frame(&presence_update(identifier, &data)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_client_form_of_an_id() {
        for (text, expected) in [
            ("1", GivenId::Id(1)),
            ("\"1\"", GivenId::Id(1)),
            ("\" 12 \"", GivenId::Id(12)),
            ("null", GivenId::Blank),
            ("\"\"", GivenId::Blank),
            ("\"  \"", GivenId::Blank),
            ("false", GivenId::Blank),
            ("[]", GivenId::Blank),
            ("{}", GivenId::Blank),
            ("\"one\"", GivenId::Unknown),
            ("1.5", GivenId::Unknown),
            ("18446744073709551615", GivenId::Unknown),
            ("\"99999999999999999999\"", GivenId::Unknown),
            ("true", GivenId::Unknown),
            ("[1]", GivenId::Unknown),
        ] {
            assert_eq!(given_id(&serde_json::from_str(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn blank_user_id_selects_a_contact_session() {
        for (identifier, expected) in [
            (json!({"channel": "RoomChannel", "pubsub_token": "t"}), Some((None, None))),
            (
                json!({"channel": "RoomChannel", "pubsub_token": "t", "account_id": "nobody's", "user_id": ""}),
                Some((None, None)),
            ),
            (
                json!({"user_id": "2", "account_id": "1", "pubsub_token": "t", "channel": "RoomChannel", "more": [1]}),
                Some((Some(1), Some(2))),
            ),
            (json!({"channel": "RoomChannel", "pubsub_token": "t", "user_id": 2}), None),
            (
                json!({"channel": "RoomChannel", "pubsub_token": "t", "account_id": 1, "user_id": "two"}),
                None,
            ),
            (json!({"channel": "RoomChannel", "account_id": 1, "user_id": 2}), None),
            (json!({"channel": "OtherChannel", "pubsub_token": "t"}), None),
        ] {
            let found = key(&identifier.to_string()).map(|key| (key.account_id, key.user_id));
            assert_eq!(found, expected, "{identifier}");
        }
    }
}
