//! A subscription of a connection at `/cable`: a stream of `PubsubService`, as frames.

use std::sync::Arc;

use parley_proto::{self as pb, PubsubKey};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Streaming};

use super::outbox::{Gone, Outbox, Outgoing};
use crate::{
    call::Call,
    json::push::{frames, typing},
};

/// What an identifier holds, in the forms that JavaScript clients send. Other keys are passed over.
#[derive(Debug, Deserialize)]
struct Identifier {
    channel: String,
    pubsub_token: String,
    #[serde(default)]
    account_id: Json,
    #[serde(default)]
    user_id: Json,
}

/// What an identifier says of an id.
#[derive(Debug, PartialEq, Eq)]
enum GivenId {
    /// Absent, null, false, or a text of spaces only, as Rails' `blank?` has it.
    Blank,
    Id(i64),
    /// A value that names no record.
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

/// The key that an identifier holds; absent for an unknown channel, and for ids that name no record. Without a user the token is that of a
/// contact's session, whose account is known, so an account in the identifier is ignored.
pub fn key(identifier: &str) -> Option<PubsubKey> {
    let asked: Identifier = serde_json::from_str(identifier).ok()?;
    if asked.channel != "RoomChannel" {
        return None;
    }
    let (account_id, user_id) = match (given_id(&asked.account_id), given_id(&asked.user_id)) {
        (_, GivenId::Blank) => (None, None),
        (GivenId::Id(account), GivenId::Id(user)) => (Some(account), Some(user)),
        _ => return None,
    };
    Some(PubsubKey {
        pubsub_token: asked.pubsub_token,
        account_id,
        user_id,
    })
}

/// A frame about the subscription itself.
pub fn frame(identifier: &str, kind: &str) -> Json {
    json!({ "identifier": identifier, "type": kind })
}

/// A subscription; what is done for it ends with it.
pub struct Subscription {
    key: PubsubKey,
    _following: AbortOnDropHandle<()>,
    /// The report that its owner is there, the last that was asked for.
    reporting: Option<AbortOnDropHandle<()>>,
}

impl Subscription {
    /// Subscribes, and reports the outcome to the client.
    pub fn open(call: &Arc<Call>, identifier: String, key: PubsubKey, outbox: &Outbox) -> Self {
        let following = follow(Arc::clone(call), identifier, key.clone(), outbox.clone());
        Self {
            key,
            _following: AbortOnDropHandle::new(tokio::spawn(following)),
            reporting: None,
        }
    }

    /// Notes that its owner is there. One report at a time: a client that asks faster gets no more reports.
    pub fn report_presence(&mut self, call: &Arc<Call>, identifier: String, outbox: &Outbox) {
        if self.reporting.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let (call, key, outbox) = (Arc::clone(call), self.key.clone(), outbox.clone());
            let report = async move {
                // An error says that the connection has gone.
                let _ = presence(&call, &identifier, key, &outbox).await;
            };
            self.reporting = Some(AbortOnDropHandle::new(tokio::spawn(report)));
        }
    }
}

/// Follows what a key may hear, until the subscription is dropped.
async fn follow(call: Arc<Call>, identifier: String, key: PubsubKey, outbox: Outbox) {
    let request = pb::SubscribePubsubRequest { key: Some(key.clone()) };
    let stream = match call.pubsub().subscribe_pubsub(call.request(request)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            let is_busy = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            let answer = if is_busy { Outgoing::Leave } else { Outgoing::Rejected(identifier) };
            // An error says that the connection has gone.
            let _ = outbox.put(answer).await;
            return;
        }
    };
    if tell(stream, &call, &identifier, &key, &outbox).await.is_ok() {
        // The stream ended by itself: a client that reconnects resumes.
        let _ = outbox.put(Outgoing::Leave).await;
    }
}

/// Tells each event, until the stream ends.
async fn tell(
    mut stream: Streaming<pb::SubscribePubsubResponse>,
    call: &Call,
    identifier: &str,
    key: &PubsubKey,
    outbox: &Outbox,
) -> Result<(), Gone> {
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

/// Notes that the key's owner is there, and tells it who else is.
async fn presence(call: &Call, identifier: &str, key: PubsubKey, outbox: &Outbox) -> Result<(), Gone> {
    let is_user = key.user_id.is_some();
    let request = pb::ReportPubsubPresenceRequest {
        key: Some(key),
        request_id: String::new(),
    };
    let Ok(present) = call.pubsub().report_pubsub_presence(call.request(request)).await else {
        return Ok(());
    };
    let present = present.into_inner();
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
    fn ids_are_read_in_every_form_that_clients_send() {
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
    fn a_blank_user_makes_it_the_key_of_a_session() {
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
