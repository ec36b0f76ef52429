//! Serves files by their links: a permanent link redirects to one that is valid for a few minutes, which serves the content.

use std::ops::Range;

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE,
            REFERRER_POLICY,
        },
    },
    response::Response,
};
use futures_util::StreamExt as _;
use parley_proto::{self as pb, download_file_response::Part};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json,
    openapi::{Caller, describe},
    params::Params,
};

/// Content types that browsers may display inline, because they cannot run scripts.
const SHOWN: [&str; 9] = [
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/bmp",
    "image/webp",
    "application/pdf",
    "text/plain",
    "audio/",
    "video/",
];

pub fn routes() -> ApiRouter {
    ApiRouter::new("Files")
        .get(
            "/files/{link}/{name}",
            redirect,
            describe("followFileLink", "FilesService.GetFileLink")
                .caller(Caller::Anyone)
                .redirects(),
        )
        .get(
            "/files/blobs/{link}/{name}",
            show,
            describe("readFile", "FilesService.DownloadFile")
                .caller(Caller::Anyone)
                .fails_with(StatusCode::RANGE_NOT_SATISFIABLE, "The range begins behind the end.")
                .returns_bytes("*/*"),
        )
}

fn link(params: &Params) -> String {
    params.fields().text("link").unwrap_or_default()
}

async fn redirect(call: Call, params: Params) -> ApiResult {
    let request = pb::GetFileLinkRequest { link: link(&params) };
    let found = call.send(request).await?;
    // A relative URL works regardless of the address at which the client reaches the gateway.
    let (_, path) = found.link.split_once("/files/").unwrap_or_default();
    let location = HeaderValue::try_from(format!("../{path}")).map_err(|_| ApiError::status_error(StatusCode::INTERNAL_SERVER_ERROR))?;
    let mut response = json::empty();
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    set_no_referrer(&mut response);
    Ok(response)
}

/// The requested range of a `Range` header. Anything other than a single byte range is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestedRange {
    All,
    /// From the first byte to the last, inclusive; to the end of the file if the last is `None`.
    From(u64, Option<u64>),
    /// The last bytes of the file, as many as given (`bytes=-n`).
    Last(u64),
}

fn requested_range(headers: &HeaderMap) -> RequestedRange {
    let read = || {
        let text = headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
        let (first, last) = text.split_once('-')?;
        if first.is_empty() {
            return Some(RequestedRange::Last(last.parse().ok()?));
        }
        let first: u64 = first.parse().ok()?;
        let last: Option<u64> = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        last.is_none_or(|last| first <= last).then_some(RequestedRange::From(first, last))
    };
    read().unwrap_or(RequestedRange::All)
}

impl RequestedRange {
    /// The range in a file of this size; `None` if it contains no bytes.
    fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::All => return Some(0..size),
            Self::From(first, last) => first..last.map_or(size, |last| size.min(last.saturating_add(1))),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

async fn show(call: Call, headers: HeaderMap, params: Params) -> ApiResult {
    let link = link(&params);
    let open = async |range: Range<u64>| {
        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let request = pb::DownloadFileRequest {
            link: link.clone(),
            offset: number(range.start),
            limit: number(range.end - range.start),
        };
        let mut parts = call.files().download_file(call.request(request)).await?.into_inner();
        match parts.message().await?.and_then(|first| first.part) {
            Some(Part::Info(info)) => Ok::<_, ApiError>((info, parts)),
            _ => Err(ApiError::status_error(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    };
    let requested_range = requested_range(&headers);
    // The size of a file is known only once the file is open, so the first attempt guesses the range. Most ranges specify their start, so
    // the guess is usually right.
    let first_try = match requested_range {
        RequestedRange::All => 0..0,
        RequestedRange::From(first, last) => first..last.map_or(u64::MAX, |last| last.saturating_add(1)),
        RequestedRange::Last(_) => 0..1,
    };
    let (info, mut parts) = open(first_try).await?;
    let size = info.size.unsigned_abs();
    let Some(range) = requested_range.of(size) else {
        let mut response = json::empty();
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"))?;
        return Ok(response);
    };
    if matches!(requested_range, RequestedRange::Last(_)) {
        (_, parts) = open(range.clone()).await?;
    }
    let chunks = parts.map(|part| match part {
        Ok(pb::DownloadFileResponse {
            part: Some(Part::Chunk(chunk)),
        }) => Ok(chunk),
        Ok(_) => Ok(bytes::Bytes::new()),
        Err(status) => Err(status),
    });
    let mut response = Response::new(Body::from_stream(chunks));
    if requested_range != RequestedRange::All {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {}-{}/{size}", range.start, range.end - 1),
        )?;
    }
    set(&mut response, CONTENT_LENGTH, &(range.end - range.start).to_string())?;
    set(&mut response, CONTENT_TYPE, &info.content_type)?;
    set(&mut response, CONTENT_DISPOSITION, &disposition(&info))?;
    set(&mut response, ACCEPT_RANGES, "bytes")?;
    set(&mut response, CACHE_CONTROL, "private, max-age=300")?;
    // Anyone can upload files, so their content must not run scripts in this origin.
    set(&mut response, HeaderName::from_static("x-content-type-options"), "nosniff")?;
    set(
        &mut response,
        HeaderName::from_static("content-security-policy"),
        "sandbox; default-src 'none'",
    )?;
    set_no_referrer(&mut response);
    Ok(response)
}

/// Prevents browsers from sending the link, which is a credential, in the `Referer` header.
fn set_no_referrer(response: &mut Response) {
    let policy = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(REFERRER_POLICY, policy);
}

fn set(response: &mut Response, name: HeaderName, value: &str) -> Result<(), ApiError> {
    let value = HeaderValue::try_from(value).map_err(|_| ApiError::status_error(StatusCode::INTERNAL_SERVER_ERROR))?;
    response.headers_mut().insert(name, value);
    Ok(())
}

fn disposition(info: &pb::FileInfo) -> String {
    let kind = info.content_type.as_str();
    let shown = SHOWN.iter().any(|known| {
        if known.ends_with('/') {
            kind.starts_with(known)
        } else {
            kind == *known
        }
    });
    let disposition_type = if shown { "inline" } else { "attachment" };
    let plain: String = info
        .name
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || "._- ".contains(letter) {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "{disposition_type}; filename=\"{plain}\"; filename*=UTF-8''{}",
        utf8_percent_encode(&info.name, NON_ALPHANUMERIC)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let read = |text: &'static str| requested_range(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static(text))]));
        assert_eq!(read("bytes=2-4").of(10), Some(2..5));
        assert_eq!(read("bytes=2-").of(10), Some(2..10));
        assert_eq!(read("bytes=2-99").of(10), Some(2..10));
        assert_eq!(read("bytes=-3").of(10), Some(7..10));
        assert_eq!(read("bytes=-30").of(10), Some(0..10));
        assert_eq!(read("bytes=10-").of(10), None);
        for text in ["bytes=4-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes="] {
            assert_eq!(read(text), RequestedRange::All, "{text}");
        }
    }

    #[test]
    fn scriptable_files_are_attachments() {
        let of = |content_type: &str| {
            disposition(&pb::FileInfo {
                name: "ä \"b\".x".to_owned(),
                content_type: content_type.to_owned(),
                size: 1,
            })
        };
        assert_eq!(
            of("image/png"),
            "inline; filename=\"_ _b_.x\"; filename*=UTF-8''%C3%A4%20%22b%22%2Ex"
        );
        assert!(of("audio/mpeg").starts_with("inline"));
        for kind in ["text/html", "image/svg+xml", "application/xml", "application/octet-stream"] {
            assert!(of(kind).starts_with("attachment"), "{kind}");
        }
    }
}
