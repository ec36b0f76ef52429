//! The parameters of a request. Path, body and query share one namespace, as in Rails.
//!
//! Files are rejected here; only the names of their fields are kept. Routes that accept files parse their parameters with `uploads`.

pub(crate) mod attributes;
pub(crate) mod body_memory;
pub(crate) mod declaration;
pub(crate) mod fields;
pub(crate) mod form_files;
pub(crate) mod ignored;
pub(crate) mod known_params;
pub(crate) mod lossless_json;
pub(crate) mod memory_charge;
pub(crate) mod message_draft;
pub(crate) mod multipart;
pub(crate) mod rails_params;
pub(crate) mod search_scope;
pub(crate) mod timestamps;
pub(crate) mod tree_budget;
pub(crate) mod uploads;
pub(crate) mod whole_body;

use std::{collections::BTreeSet, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts as _, RawPathParams, Request},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts as Head},
};
use bytes::Bytes;
use parley_admission::rate_limit::Charged;
use parley_compute::{Cancel, ComputePool, HasWeight as _};
use parley_fault::Protection;
use serde_json::{Map, Value as Json};

use crate::{
    call::Call,
    errors::ApiError,
    layers::response_metadata::ResponseMetadata,
    params::{
        ignored::Comparison,
        multipart::{Part, Parts, TextLimit},
        rails_params::FormBudget,
    },
};

/// The compute pool that parses large bodies, two at a time, which is enough to keep the processors of a small machine busy. Its queue is
/// also bounded by the memory budget for requests.
static PARSE_POOL: ComputePool = ComputePool::new("request body", 2, 256);

/// The compute pool that parses large bodies from callers without a token, one at a time: the second processor is reserved for callers with
/// a token.
static ANONYMOUS_PARSE_POOL: ComputePool = ComputePool::new("anonymous request body", 1, 256);

/// Maximum time to parse a body, including the time it waits in the queue.
const PARSE_BUDGET: Duration = Duration::from_secs(10);

/// Maximum size in bytes of a body that is parsed and processed directly on a runtime worker; larger bodies are passed to a compute pool.
/// For scale: 45 KB of small objects kept a worker busy for 22 ms.
pub(crate) const INLINE_BYTES: usize = 16 * 1024;

/// The parameters of a request. If a name occurs more than once, the path takes precedence over the body, and the body over the query.
#[derive(Debug, Default)]
pub struct Params {
    pub(crate) map: Map<String, Json>,
    /// Paths of numbers that a double cannot represent exactly.
    pub(crate) inexact: BTreeSet<String>,
    /// Names of the fields that contained files.
    pub(crate) files: BTreeSet<String>,
    /// Whether the body was a form. Unlike JSON, a form must not omit the root key.
    pub(crate) form: bool,
    /// The remaining budget for the data structures of a form.
    pub(crate) budget: FormBudget,
}

impl Params {
    pub(crate) fn form(&mut self, encoded: &[u8]) -> Result<(), ApiError> {
        for (name, value) in form_urlencoded::parse(encoded) {
            self.put(&name, value.into_owned())?;
        }
        Ok(())
    }

    /// Inserts a string at the path that its parameter name describes.
    ///
    /// # Errors
    /// Returns 400 if the name contradicts another one or the form exceeds a limit.
    pub(crate) fn put(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        rails_params::put(&mut self.budget, &mut self.map, name, Json::String(value)).map_err(|rejected| match rejected {
            rails_params::RejectedField::Contradiction => ApiError::status_error(StatusCode::BAD_REQUEST),
            rails_params::RejectedField::TooLarge(limit) => ApiError::limit_exceeded(limit),
        })
    }

    pub(crate) fn json(&mut self, body: &Bytes) -> Result<(), ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let malformed = || ApiError::status_error(StatusCode::BAD_REQUEST);
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        let (value, inexact) = lossless_json::parse(text).map_err(|error| match error {
            lossless_json::ParseError::Malformed => malformed(),
            lossless_json::ParseError::TooLarge(limit) => ApiError::limit_exceeded(limit),
        })?;
        // A body that is not a JSON object has no named parameters.
        if let Json::Object(map) = value {
            self.map = map;
            self.inexact = inexact;
        }
        Ok(())
    }

    /// Parses a complete body that is not a multipart form. Parsing a large one takes milliseconds, so it runs on a compute pool.
    ///
    /// # Errors
    /// Returns 400 if the body is invalid or exceeds a limit, and 503 if the pool's queue is full.
    async fn read(
        mut self,
        kind: String,
        body: Bytes,
        response_metadata: Option<ResponseMetadata>,
        is_anonymous: bool,
    ) -> Result<Self, ApiError> {
        if body.len() <= INLINE_BYTES {
            self.text(&kind, &body)?;
            return Ok(self);
        }
        let job = move |_: &Cancel| {
            self.text(&kind, &body)?;
            // Processing the parameters takes as long as parsing them, so mark the request as heavy, unless parsing failed and there is
            // nothing to process.
            if let Some(response_metadata) = response_metadata {
                response_metadata.weight().add();
            }
            Ok(self)
        };
        let pool = if is_anonymous && parley_fault::is_on(Protection::AnonymousSlots) {
            &ANONYMOUS_PARSE_POOL
        } else {
            &PARSE_POOL
        };
        pool.run(PARSE_BUDGET, job).await.map_err(|_| ApiError::no_memory())?
    }

    fn text(&mut self, kind: &str, body: &Bytes) -> Result<(), ApiError> {
        match kind {
            "application/x-www-form-urlencoded" => self.form(body),
            // A body without a content type is parsed as JSON, because JSON is the default of this API.
            "" => self.json(body),
            kind if kind == "application/json" || kind.ends_with("+json") => self.json(body),
            _ => Ok(()),
        }
    }

    /// Records the field name of a file that the route does not accept.
    ///
    /// # Errors
    /// Returns 400 if the name is too long.
    pub(crate) fn refuse_file(&mut self, name: &str) -> Result<(), ApiError> {
        rails_params::check_name(name).map_err(ApiError::limit_exceeded)?;
        self.files.insert(name.split('[').next().unwrap_or_default().to_owned());
        Ok(())
    }

    /// Adds those parameters from `lower` that the body does not contain.
    fn merge_defaults(&mut self, lower: Params) {
        for (name, value) in lower.map {
            self.map.entry(name).or_insert(value);
        }
    }

    fn override_with(&mut self, name: &str, value: &str) {
        self.map.insert(name.to_owned(), Json::String(value.to_owned()));
        let inside = format!("{name}.");
        self.inexact.retain(|path| path != name && !path.starts_with(&inside));
    }
}

/// The parameters in a request's path and query, which are parsed separately from the body.
pub(crate) struct OuterParams {
    path: RawPathParams,
    query: Params,
    /// The known parameters of the route. `None` if the route does not report unknown parameters.
    comparison: Option<Comparison>,
    /// Authorizes the caller before an update without known parameters is rejected. `None` if the route does not reject such updates.
    call: Option<Call>,
}

impl OuterParams {
    /// Parses the parameters in the path and the query.
    ///
    /// # Errors
    /// Returns 400 if names in the query contradict each other.
    pub(crate) async fn read<S: Send + Sync>(parts: &mut Head, state: &S) -> Result<Self, ApiError> {
        let path = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::unknown_route())?;
        let mut query = Params::default();
        query.form(parts.uri.query().unwrap_or_default().as_bytes())?;
        let comparison: Option<Comparison> = parts.extensions.get().cloned();
        let call = match comparison.as_ref().and_then(Comparison::refusing) {
            Some(services) => Call::from_request_parts(parts, services).await.ok(),
            None => None,
        };
        Ok(Self {
            path,
            query,
            comparison,
            call,
        })
    }

    /// Returns the value of a path parameter.
    pub(crate) fn of_path(&self, name: &str) -> Option<&str> {
        let mut parts = self.path.iter();
        parts.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Merges the parameters of the path and the query into the parameters of the body.
    ///
    /// # Errors
    /// Returns 422 for an update without known parameters, or the authorization error if the caller is not allowed to make the update.
    pub(crate) async fn complete(self, mut params: Params) -> Result<Params, ApiError> {
        if let Some(comparison) = &self.comparison
            && let Some(names) = comparison.compare(&params.map, !params.files.is_empty(), &self.query.map)
        {
            if let Some(call) = &self.call {
                let account = self.of_path("account_id").and_then(|id| id.parse().ok());
                call.authorize(account.unwrap_or(i64::MAX)).await?;
            }
            return Err(ApiError::unsupported(&names, comparison.known_params().body()));
        }
        params.merge_defaults(self.query);
        for (name, value) in &self.path {
            params.override_with(name, value);
        }
        Ok(params)
    }
}

/// The parameters of a multipart form whose parts are being read.
pub(crate) struct Form {
    pub params: Params,
    files_left: usize,
    text_bytes: usize,
    response_metadata: Option<ResponseMetadata>,
}

impl Form {
    /// Creates a form without parts. A request with large text fields is marked as heavy in `response_metadata`, if that is given, so that
    /// its processing leaves the runtime worker to other tasks.
    pub(crate) fn new(response_metadata: Option<ResponseMetadata>) -> Self {
        Self {
            params: Params {
                form: true,
                ..Params::default()
            },
            files_left: multipart::FILES,
            text_bytes: 0,
            response_metadata,
        }
    }

    /// Adds a part. A file in one of `file_fields` is returned with its name instead; other files are rejected later.
    ///
    /// # Errors
    /// As for [`Part::text`], [`Params::put`] and [`Params::refuse_file`]; also 413 if there are too many files.
    pub(crate) async fn add<'a>(&mut self, mut part: Part<'a>, file_fields: &[&str]) -> Result<Option<(String, Part<'a>)>, ApiError> {
        // One chunk of the body may contain thousands of small parts, so let other tasks run between parts.
        tokio::task::coop::consume_budget().await;
        let name = part.name();
        if !part.is_file() {
            let text = part.text().await?;
            self.text_bytes += text.len();
            self.params.put(&name, text)?;
            return Ok(None);
        }
        // Files that are not accepted count as well: the name of each is kept, and a form can consist of nothing but such files.
        let too_many = || ApiError::status_error(StatusCode::PAYLOAD_TOO_LARGE);
        self.files_left = self.files_left.checked_sub(1).ok_or_else(too_many)?;
        if file_fields.contains(&name.strip_suffix("[]").unwrap_or(&name)) {
            return Ok(Some((name, part)));
        }
        self.params.refuse_file(&name)?;
        part.skip().await?;
        Ok(None)
    }

    /// Returns the parameters. Marks the request as heavy if its text fields are large, and then yields, because the mark takes
    /// effect only when the request is polled again.
    pub(crate) async fn complete(self) -> Params {
        if let Some(response_metadata) = self.response_metadata.filter(|_| self.text_bytes > INLINE_BYTES) {
            response_metadata.weight().add();
            tokio::task::yield_now().await;
        }
        self.params
    }
}

fn content_type(parts: &Head) -> String {
    let whole = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let outer_params = OuterParams::read(&mut parts, state).await?;
        let kind = content_type(&parts);
        let boundary = multipart::boundary(&parts.headers);
        let limit = TextLimit::of(&parts);
        let response_metadata = parts.extensions.get().cloned();
        let request = Request::from_parts(parts, body);

        let params = if kind == "multipart/form-data" {
            let boundary = boundary.ok_or_else(|| ApiError::status_error(StatusCode::BAD_REQUEST))?;
            let mut parts = Parts::whole(request.into_body(), &boundary, limit);
            let mut form = Form::new(response_metadata);
            while let Some(part) = parts.next().await? {
                form.add(part, &[]).await?;
            }
            form.complete().await
        } else {
            let is_anonymous = request.extensions().get::<Charged>().is_some();
            let params = Params {
                form: kind == "application/x-www-form-urlencoded",
                ..Params::default()
            };
            let body = whole_body::read(request).await?;
            params.read(kind, body, response_metadata, is_anonymous).await?
        };
        outer_params.complete(params).await
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http, routing::any};
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;

    async fn sent(uri: &str, content_type: &str, body: &str) -> (StatusCode, Json) {
        let show = |params: Params| async move { json!({"map": params.map, "inexact": params.inexact, "files": params.files}).to_string() };
        let app = Router::new()
            .route("/contacts/{contact_id}", any(show))
            .layer(axum::extract::DefaultBodyLimit::max(2000));
        let request = http::Request::post(uri)
            .header(CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = app.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn path_then_body_then_query() {
        let (_, seen) = sent(
            "/contacts/7?contact_id=1&name=q&only=q&labels[]=a",
            "application/json",
            r#"{"contact_id": 2, "name": "b", "n": 1e400}"#,
        )
        .await;
        assert_eq!(seen["map"]["contact_id"], "7");
        assert_eq!(seen["map"]["name"], "b");
        assert_eq!(seen["map"]["only"], "q");
        assert_eq!(seen["map"]["labels"], json!(["a"]));
        assert_eq!(seen["inexact"], json!(["n"]));
    }

    #[tokio::test]
    async fn forms() {
        let (_, seen) = sent(
            "/contacts/7",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "name=A+B&custom_attributes[plan]=gold",
        )
        .await;
        assert_eq!(
            seen["map"],
            json!({"contact_id": "7", "name": "A B", "custom_attributes": {"plan": "gold"}})
        );
    }

    #[tokio::test]
    async fn multipart_names_its_files() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\nhi\r\n--x\r\nContent-Disposition: form-data; \
                    name=\"attachments[]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--x--\r\n";
        let (status, seen) = sent("/contacts/7", "multipart/form-data; boundary=x", body).await;
        assert_eq!(status, 200);
        assert_eq!(seen["map"]["content"], "hi");
        assert_eq!(seen["files"], json!(["attachments"]));
    }

    #[tokio::test]
    async fn rejects_malformed_bodies() {
        let bad = (StatusCode::BAD_REQUEST, json!({"status": 400, "error": "Bad Request"}));
        assert_eq!(sent("/contacts/7", "application/json", "{").await, bad);
        assert_eq!(sent("/contacts/7", "application/json", "").await.0, 200);
        assert_eq!(sent("/contacts/7?a=1&a[b]=2", "", "").await, bad);
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(3000));
        assert_eq!(
            sent("/contacts/7", "application/json", &long).await,
            (StatusCode::PAYLOAD_TOO_LARGE, json!({"status": 413, "error": "Payload Too Large"}))
        );
    }
}
