//! The event stream as Server-Sent Events: the same log and cursors as in the gRPC API, for browsers and scripts.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse as _,
        sse::{Event, Sse},
    },
};
use futures_util::{Stream, stream};
use parley_proto::{self as pb, json, subscribe_request::Start};
use parley_types::cursor_text;
use serde_json::json;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::field_error::FieldError,
    json::values::{Name, Named},
    openapi::describe,
    params::{Params, fields::ParamReader, timestamps},
};

/// The header in which a reconnecting client sends its cursor, as the Server-Sent Events standard defines it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The header that disables response buffering in nginx.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

const MESSAGE_TYPES: [(&str, pb::MessageType); 4] = [
    ("incoming", pb::MessageType::Incoming),
    ("outgoing", pb::MessageType::Outgoing),
    ("activity", pb::MessageType::Activity),
    ("template", pb::MessageType::Template),
];

#[derive(Clone, Copy, PartialEq)]
enum StartPosition {
    Earliest,
    Latest,
    Snapshot,
}

impl Named for StartPosition {
    const NAMES: &'static [(&'static str, Self)] = &[("earliest", Self::Earliest), ("latest", Self::Latest), ("snapshot", Self::Snapshot)];
}

/// The routes of the event stream.
pub fn routes() -> ApiRouter {
    ApiRouter::new("Events").get(
        "/api/v1/accounts/{account_id}/events",
        follow,
        describe("followEvents", "EventsService.Subscribe")
            .query::<String>("from")
            .query::<Name<StartPosition>>("start")
            .query::<String>("after")
            .query::<String>("at")
            .query::<String>("kinds")
            .query::<String>("inbox_ids")
            .query::<String>("conversation_ids")
            .query::<String>("contact_ids")
            .query::<String>("message_types")
            .query::<bool>("private")
            .query::<bool>("ephemeral")
            .query::<i64>("heartbeat")
            .fails_with(
                StatusCode::GONE,
                "The cursor cannot be resumed: it has expired, is ahead of the log, or belongs to a history that was replaced. Start again.",
            )
            .returns_bytes("text/event-stream"),
    )
}

async fn follow(call: Call, headers: HeaderMap, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let account_id = fields.account();
    refuse_unknown(&mut fields, &params);
    let request = read(&mut fields, &headers, account_id);
    call.authorize_error(account_id, fields.finish()).await?;
    let stream = call.events().subscribe(call.request(request)).await?;
    let events = stream::unfold(Some(stream.into_inner()), step);
    let mut response = Sse::new(flattened(events)).into_response();
    // Without `X-Accel-Buffering: no`, nginx would buffer events before it forwards them.
    response.headers_mut().insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}

/// All parameters of the event stream, including those in its path.
const PARAMETERS: [&str; 13] = [
    "account_id",
    "start",
    "from",
    "after",
    "at",
    "kinds",
    "inbox_ids",
    "conversation_ids",
    "contact_ids",
    "message_types",
    "private",
    "ephemeral",
    "heartbeat",
];

/// Rejects unknown parameters, because a stream with a misspelled `start` parameter would silently begin at the wrong position. Names that
/// begin with `_` are accepted, because scripts add such parameters to bypass caches.
fn refuse_unknown(fields: &mut ParamReader<'_>, params: &Params) {
    let unknown = params
        .map
        .keys()
        .find(|name| !PARAMETERS.contains(&name.as_str()) && !name.starts_with('_'));
    if let Some(name) = unknown {
        fields.add_error(FieldError::new(
            name,
            "is not a parameter of the stream; its parameters are from, start, after, at, kinds, inbox_ids, conversation_ids, contact_ids, message_types, \
             private, ephemeral and heartbeat",
        ));
    }
}

fn read(fields: &mut ParamReader<'_>, headers: &HeaderMap, account_id: i64) -> pb::SubscribeRequest {
    // A reconnecting client continues at `Last-Event-ID`, even though its URL still contains the original start position.
    let resumed = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty());
    let after = resumed.map(str::to_owned).or_else(|| fields.text("after"));
    let begin = fields.choice("start").map(|begin| match begin {
        StartPosition::Earliest => Start::Earliest(()),
        StartPosition::Latest => Start::Latest(()),
        StartPosition::Snapshot => Start::Snapshot(()),
    });
    let at = fields.time("at", timestamps::from_iso).map(Start::At);
    let from = from(fields);
    let after = after.map(|text| {
        let cursor = cursor_text::decode(&text).unwrap_or_default();
        if cursor.is_empty() {
            fields.add_error(FieldError::new("after", "must be the id of an event of this stream"));
        }
        Start::After(cursor)
    });
    let kinds = many(fields, "kinds", |name| {
        let name = format!("EVENT_KIND_{}", name.replace('.', "_").to_uppercase());
        pb::EventKind::from_str_name(&name)
            .filter(|kind| *kind != pb::EventKind::Unspecified)
            .map(i32::from)
    });
    let message_types = many(fields, "message_types", |name| {
        let known = MESSAGE_TYPES.iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| i32::from(*kind))
    });
    let mut ids = |key| many(fields, key, |text| text.parse().ok());
    let filter = pb::EventFilter {
        kinds,
        inbox_ids: ids("inbox_ids"),
        conversation_ids: ids("conversation_ids"),
        contact_ids: ids("contact_ids"),
        message_types,
        private: fields.flag("private"),
    };
    pb::SubscribeRequest {
        account_id,
        start: after.or(at).or(begin).or(from),
        filter: Some(filter),
        heartbeat: fields
            .integer("heartbeat")
            .map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        ephemeral: fields.flag("ephemeral").unwrap_or_default(),
    }
}

/// Parses `from` in the syntax of `parley tail --from`: a keyword, a cursor or a time.
fn from(fields: &mut ParamReader<'_>) -> Option<Start> {
    let text = fields.text("from").filter(|text| !text.is_empty())?;
    let start = match text.as_str() {
        "earliest" => Some(Start::Earliest(())),
        "latest" => Some(Start::Latest(())),
        "snapshot" => Some(Start::Snapshot(())),
        text => match timestamps::from_iso(&json!(text)) {
            Some(time) => Some(Start::At(time)),
            None => cursor_text::decode(text).map(Start::After),
        },
    };
    if start.is_none() {
        fields.add_error(FieldError::new("from", "must be earliest, latest, snapshot, a cursor or a time"));
    }
    start
}

/// Parses a list of values separated by commas.
fn many<T>(fields: &mut ParamReader<'_>, key: &'static str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let text = fields.text(key).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (mut known, mut unknown) = (Vec::new(), false);
    for part in parts {
        match read(part) {
            Some(value) => known.push(value),
            None => unknown = true,
        }
    }
    if unknown {
        fields.add_error(FieldError::new(key, "is not included in the list"));
    }
    known
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Receives the next response of the stream and converts it to events. Also returns the stream for the next call, or `None` in its place if
/// an error has ended the stream. Returns `None` if there are no further events.
async fn step(stream: Option<Streaming<pb::SubscribeResponse>>) -> Option<(Vec<Event>, Option<Streaming<pb::SubscribeResponse>>)> {
    let mut stream = stream?;
    match stream.message().await {
        Ok(Some(response)) => Some((to_events(&response), Some(stream))),
        Ok(None) => None,
        Err(status) => Some((vec![end(&status)], None)),
    }
}

fn flattened(events: impl Stream<Item = Vec<Event>>) -> impl Stream<Item = Result<Event, Infallible>> {
    use futures_util::StreamExt as _;
    events.flat_map(|events| stream::iter(events.into_iter().map(Ok)))
}

fn to_events(response: &pb::SubscribeResponse) -> Vec<Event> {
    let mut events = Vec::with_capacity(response.events.len() + 1);
    let plain = |name: &str, data: serde_json::Value| Event::default().event(name).data(data.to_string());
    for upsert in &response.upserts {
        events.push(plain("upsert", json::message("parley.v1.Upsert", upsert)));
    }
    if let Some(complete) = &response.snapshot_complete {
        events.push(plain("snapshot_complete", json!({ "count": complete.count })).id(cursor_text::encode(&complete.cursor)));
    }
    for delivery in &response.events {
        let kind = delivery.event.as_ref().map(|event| event.kind_name.as_str()).unwrap_or_default();
        events.push(plain(kind, json::event(delivery)).id(cursor_text::encode(&delivery.cursor)));
    }
    for ephemeral in &response.ephemeral {
        events.push(plain(&ephemeral.kind_name, json::message("parley.v1.EphemeralEvent", ephemeral)));
    }
    if let Some(bookmark) = &response.bookmark {
        let comment = format!("at {} of {}", bookmark.seq, bookmark.head_seq);
        events.push(Event::default().id(cursor_text::encode(&bookmark.cursor)).comment(comment));
    }
    events
}

/// Returns the last event of a stream, which tells the client when to reconnect or why not to. If the status contains the cursor at which
/// the stream ended, the cursor is the id of the event.
fn end(status: &Status) -> Event {
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let end = match retry.filter(|_| status.code() == Code::Unavailable) {
        Some(after) => Event::default().retry(after.max(Duration::from_millis(1))).comment("come back"),
        None => Event::default()
            .event("end")
            .data(json!({ "error": status.message(), "reason": reason(status) }).to_string()),
    };
    match status
        .metadata()
        .get_bin("parley-cursor-bin")
        .and_then(|cursor| cursor.to_bytes().ok())
    {
        Some(cursor) => end.id(cursor_text::encode(&cursor)),
        None => end,
    }
}
