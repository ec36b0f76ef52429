//! Golden exchanges: requests and responses as snapshots, which both databases share.
//!
//! Values that differ between runs (times, random ids, tokens) are masked by rules. `INSTA_UPDATE=always` rewrites the snapshots. The
//! exchanges are grouped into files by API. `complete` checks that every route has exchanges, and `contract` that every route of the
//! contract exists. `errors` has the errors that need special conditions. The contract's 403 (changing the status of a message in an inbox
//! that is not an API inbox) has no exchange: all inboxes of Parley are API inboxes, so it cannot occur. `examples` generates the examples
//! of `/openapi.json` from the snapshots, and `described` checks that every operation has texts.

mod application;
mod client_and_platform;
mod complete;
mod contract;
mod coverage;
mod described;
mod errors;
mod examples;
mod front_ends;
mod records;
mod sharing;

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use crate::support::{
    app::TestApp,
    database::Database,
    http::{Http, HttpAnswer},
};

/// The exchanges of one test, in order.
#[derive(Debug)]
pub struct Exchanges {
    http: Http,
    database: String,
    written: Vec<Json>,
}

impl Exchanges {
    /// No exchanges yet, with a client of this server.
    pub fn new(app: &TestApp, http: Http) -> Self {
        Self {
            http,
            database: app.database.url(),
            written: Vec::new(),
        }
    }

    /// Sends `body` (no body if null) to `path` and records the exchange. Returns the body of the response.
    pub async fn exchange(&mut self, method: &str, path: &str, body: Json) -> Json {
        let http = self.http.clone();
        self.exchange_by(&http, method, path, body).await
    }

    /// Like [`Self::exchange`], with another caller.
    pub async fn exchange_by(&mut self, http: &Http, method: &str, path: &str, body: Json) -> Json {
        let answer = if http.description().await.takes_key(method, path) {
            self.twice(http, method, path, &body).await
        } else {
            http.send(method, path, Some(&body).filter(|body| !body.is_null())).await
        };
        self.note(method, path, &body, answer)
    }

    /// Sends a request that changes something under an `Idempotency-Key` and, if it succeeds, repeats it: the response must be the same,
    /// stored in the database, and without a second effect.
    async fn twice(&self, http: &Http, method: &str, path: &str, body: &Json) -> HttpAnswer {
        let key = uuid::Uuid::new_v4().to_string();
        let send = || {
            let request = http.request(method, path).header("idempotency-key", &key);
            http.answer(if body.is_null() { request } else { request.json(body) })
        };
        let kept = "SELECT CAST(count(*) AS bigint) FROM idempotency_keys";
        let heads = "SELECT CAST(coalesce(sum(head_seq), 0) AS bigint) FROM account_logs";
        let before = Database::number(&self.database, kept).await;
        let first = send().await;
        if first.status < 400 {
            let after = [
                Database::number(&self.database, kept).await,
                Database::number(&self.database, heads).await,
            ];
            assert!(after[0] > before, "{method} {path} keeps no answer to its Idempotency-Key");
            let second = send().await;
            // A secret that is shown once is not stored, so the replayed response contains another one.
            let told = |answer: &HttpAnswer| (answer.status, without(&answer.body, "access_token"));
            assert_eq!(told(&second), told(&first), "{method} {path}, repeated");
            let later = [
                Database::number(&self.database, kept).await,
                Database::number(&self.database, heads).await,
            ];
            assert_eq!(later, after, "{method} {path}, repeated, happened again");
        }
        first
    }

    /// Like [`Self::exchange`], with an additional header and a body that is sent verbatim.
    pub async fn exchange_raw(&mut self, method: &str, path: &str, (header, value): (&str, &str), body: String) -> Json {
        let http = self.http.clone();
        // Large bodies are replaced by a placeholder.
        let sent = if body.len() > 1000 { json!("[long]") } else { json!(body) };
        let request = http.request(method, path).header("content-type", "application/json");
        let answer = http.answer(request.header(header, value).body(body)).await;
        self.note(method, path, &sent, answer)
    }

    /// Posts a multipart form: the name, file name (empty for a text field), media type and content of each part.
    pub async fn exchange_parts(&mut self, path: &str, parts: &[[&str; 4]]) -> Json {
        const WRITTEN: &str = "a String takes everything";
        let mut body = String::new();
        for [name, file, kind, content] in parts {
            write!(body, "--x\r\nContent-Disposition: form-data; name=\"{name}\"").expect(WRITTEN);
            if !file.is_empty() {
                write!(body, "; filename=\"{file}\"\r\nContent-Type: {kind}").expect(WRITTEN);
            }
            write!(body, "\r\n\r\n{content}\r\n").expect(WRITTEN);
        }
        body += "--x--\r\n";
        let sent = if body.len() > 1000 {
            json!("[long]")
        } else {
            json!(body.lines().collect::<Vec<_>>())
        };
        let request = self
            .http
            .request("POST", path)
            .header("content-type", "multipart/form-data; boundary=x");
        let answer = self.http.answer(request.body(body)).await;
        self.note("POST", path, &sent, answer)
    }

    fn note(&mut self, method: &str, path: &str, body: &Json, answer: HttpAnswer) -> Json {
        let mut written = json!({
            "request": format!("{method} {}", masked_path(path)),
            "status": answer.status,
            "body": masked("", &answer.body),
        });
        if !body.is_null() {
            written["sent"] = without_length(&masked("", body));
        }
        for name in ["content-type", "retry-after", "location"] {
            if let Some(value) = answer.headers.get(name).and_then(|value| value.to_str().ok()) {
                // The rest of a minute, which differs between runs.
                written[name] = if name == "retry-after" { json!("[seconds]") } else { json!(value) };
            }
        }
        self.written.push(written);
        answer.body
    }

    /// Compares all exchanges with the snapshot `name`.
    pub fn end(self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("snapshots");
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_json_snapshot!(name, self.written));
    }
}

/// Keys with random values.
const RANDOM: [&str; 5] = ["inbox_identifier", "hmac_token", "pubsub_token", "pubsub_tokens", "access_token"];

/// Ids from here on are random: those of users, and those of contacts as shown to unverified sessions.
const RANDOM_IDS: u64 = 1 << 48;

/// A value with placeholders for what differs between runs.
fn masked(key: &str, json: &Json) -> Json {
    match json {
        Json::Object(map) => Json::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), masked(key, value)))
                .collect::<Map<_, _>>(),
        ),
        Json::Array(items) => items.iter().map(|item| masked(key, item)).collect(),
        Json::Number(number) if number.as_u64().is_some_and(|number| number >= RANDOM_IDS) => json!("[id]"),
        Json::Number(number) if number.as_f64().is_some_and(|number| number > 1.6e9) => json!("[time]"),
        Json::String(_) if RANDOM.contains(&key) => json!("[random]"),
        Json::String(text) if key == "url" && text.contains("sso_auth_token") => json!("[login link]"),
        Json::String(text) if text.contains("/files/") => json!("[link]"),
        Json::String(text) if is_uuid(text) => json!("[uuid]"),
        Json::String(text) if is_time(text) => json!("[time]"),
        Json::String(text) if ["inbox", "label", "team"].contains(&key) => json!(unstamped(text)),
        other => other.clone(),
    }
}

/// A cache key with a fixed timestamp.
fn unstamped(key: &str) -> String {
    let is_stamp = |part: &str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = key.split('-').map(|part| if is_stamp(part) { "1767225600000000" } else { part });
    parts.collect::<Vec<_>>().join("-")
}

/// A value with long texts replaced by their lengths.
fn without_length(json: &Json) -> Json {
    match json {
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_length(value)))
            .collect::<Map<_, _>>()
            .into(),
        Json::Array(items) => items.iter().map(without_length).collect(),
        Json::String(text) if text.len() > 1000 => json!(format!("[{} characters]", text.len())),
        other => other.clone(),
    }
}

/// A value without the entries under `key`.
fn without(json: &Json, key: &str) -> Json {
    match json {
        Json::Object(map) => {
            let kept = map.iter().filter(|(name, _)| *name != key);
            Json::Object(kept.map(|(name, value)| (name.clone(), without(value, key))).collect())
        }
        other => other.clone(),
    }
}

fn masked_path(path: &str) -> String {
    let masked = |part| match part {
        uuid if is_uuid(uuid) => "[uuid]",
        id if id.parse().is_ok_and(|id: u64| id >= RANDOM_IDS) => "[id]",
        other => other,
    };
    let parts: Vec<&str> = path.split('/').map(masked).collect();
    parts.join("/")
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::parse_str(text).is_ok()
}

fn is_time(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}
