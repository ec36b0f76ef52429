//! Files by their links: the lasting one leads to one that is good for some minutes, and that one to the bytes.

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
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    openapi::{Caller, about},
    params::Params,
};

/// Types that a browser may show by itself: they run nothing.
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

/// The routes of this file.
pub fn routes() -> Door {
    Door::new("Files")
        .get(
            "/files/{link}/{name}",
            lead,
            about("followFileLink", "FilesService.GetFileLink")
                .caller(Caller::Anyone)
                .leads_elsewhere(),
        )
        .get(
            "/files/blobs/{link}/{name}",
            show,
            about("readFile", "FilesService.DownloadFile")
                .caller(Caller::Anyone)
                .refuses(StatusCode::RANGE_NOT_SATISFIABLE, "The range begins behind the end.")
                .answers_bytes("*/*"),
        )
}

fn link(params: &Params) -> String {
    params.fields().text("link").unwrap_or_default()
}

async fn lead(call: Call, params: Params) -> Answer {
    let request = pb::GetFileLinkRequest { link: link(&params) };
    let found = call.files().get_file_link(call.request(request)).await?.into_inner();
    // Relative, so that it holds wherever this door is reached from.
    let (_, place) = found.link.split_once("/files/").unwrap_or_default();
    let location = HeaderValue::try_from(format!("../{place}")).map_err(|_| Failure::fault(StatusCode::INTERNAL_SERVER_ERROR))?;
    let mut response = json::empty();
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    keep_to_itself(&mut response);
    Ok(response)
}

/// What a `Range` header asks for. Anything but one range of bytes is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// From the first on, up to and with the last if it is named.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

fn wanted(headers: &HeaderMap) -> Wanted {
    let read = || {
        let text = headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
        let (first, last) = text.split_once('-')?;
        if first.is_empty() {
            return Some(Wanted::Last(last.parse().ok()?));
        }
        let first: u64 = first.parse().ok()?;
        let last: Option<u64> = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        last.is_none_or(|last| first <= last).then_some(Wanted::From(first, last))
    };
    read().unwrap_or(Wanted::All)
}

impl Wanted {
    /// The bytes of a file of this size; none if there is not one of them.
    fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::All => return Some(0..size),
            Self::From(first, last) => first..last.map_or(size, |last| size.min(last.saturating_add(1))),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

async fn show(call: Call, headers: HeaderMap, params: Params) -> Answer {
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
            Some(Part::Info(info)) => Ok::<_, Failure>((info, parts)),
            _ => Err(Failure::fault(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    };
    let wanted = wanted(&headers);
    // How long a file is, is known only when it is open; most ranges name where they begin.
    let first_try = match wanted {
        Wanted::All => 0..0,
        Wanted::From(first, last) => first..last.map_or(u64::MAX, |last| last.saturating_add(1)),
        Wanted::Last(_) => 0..1,
    };
    let (info, mut parts) = open(first_try).await?;
    let size = info.size.unsigned_abs();
    let Some(range) = wanted.of(size) else {
        let mut response = json::empty();
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"))?;
        return Ok(response);
    };
    if matches!(wanted, Wanted::Last(_)) {
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
    if wanted != Wanted::All {
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
    // What anybody could upload must not run here.
    set(&mut response, HeaderName::from_static("x-content-type-options"), "nosniff")?;
    set(
        &mut response,
        HeaderName::from_static("content-security-policy"),
        "sandbox; default-src 'none'",
    )?;
    keep_to_itself(&mut response);
    Ok(response)
}

/// The link is a credential: a page that the file leads to must not learn it from the `Referer` header.
fn keep_to_itself(response: &mut Response) {
    let policy = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(REFERRER_POLICY, policy);
}

fn set(response: &mut Response, name: HeaderName, value: &str) -> Result<(), Failure> {
    let value = HeaderValue::try_from(value).map_err(|_| Failure::fault(StatusCode::INTERNAL_SERVER_ERROR))?;
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
    let place = if shown { "inline" } else { "attachment" };
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
        "{place}; filename=\"{plain}\"; filename*=UTF-8''{}",
        utf8_percent_encode(&info.name, NON_ALPHANUMERIC)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let read = |text: &'static str| wanted(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static(text))]));
        assert_eq!(read("bytes=2-4").of(10), Some(2..5));
        assert_eq!(read("bytes=2-").of(10), Some(2..10));
        assert_eq!(read("bytes=2-99").of(10), Some(2..10));
        assert_eq!(read("bytes=-3").of(10), Some(7..10));
        assert_eq!(read("bytes=-30").of(10), Some(0..10));
        assert_eq!(read("bytes=10-").of(10), None);
        for text in ["bytes=4-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes="] {
            assert_eq!(read(text), Wanted::All, "{text}");
        }
    }

    #[test]
    fn what_could_run_is_only_saved() {
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
