//! A reader that uses gRPC-Web over HTTP/1.1, as browsers do.

use std::time::Instant;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use parley_proto::{EventFilter, SubscribeRequest, SubscribeResponse, subscribe_request::Start};
use prost::Message as _;
use tonic::Status;

use super::{
    AGAIN, GIVE_UP, Post,
    reader::{SILENCE, take},
};
use crate::{
    history::{Begin, Ending, ReaderApi, Section, Step},
    support::{app::ADMINISTRATOR, http::client, reader::everything},
};

/// A message with its gRPC-Web frame header.
fn framed(request: &SubscribeRequest) -> Bytes {
    let encoded = request.encode_to_vec();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(encoded.len()).expect("a small message"));
    body.put_slice(&encoded);
    body.freeze()
}

/// Takes the next complete frame: whether it holds trailers, and its content.
fn frame(rest: &mut BytesMut) -> Option<(bool, Bytes)> {
    let mut head = rest.get(..5)?;
    let (flags, length) = (head.get_u8(), usize::try_from(head.get_u32()).expect("32 bits fit"));
    if rest.len() < 5 + length {
        return None;
    }
    rest.advance(5);
    Some((flags & 0x80 != 0, rest.split_to(length).freeze()))
}

/// How a stream ended, according to its trailers.
fn ending(trailers: &[u8]) -> Ending {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(trailers).lines() {
        if let Some((name, value)) = line.split_once(':')
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(name.trim()), HeaderValue::try_from(value.trim()))
        {
            headers.insert(name, value);
        }
    }
    told(&headers).unwrap_or(Ending::Well)
}

/// How a stream ended, according to headers that contain a status.
fn told(headers: &HeaderMap) -> Option<Ending> {
    let status = Status::from_header_map(headers)?;
    Some(if status.code() == tonic::Code::Ok {
        Ending::Well
    } else {
        Ending::of(&status)
    })
}

/// Reads the whole log of an account.
pub async fn read(post: Post) {
    let (client, mut cursor) = (client(), None::<Bytes>);
    let mut section = Section::new(&post.name, post.account, ReaderApi::Web, EventFilter::default(), Begin::Earliest);
    // Nothing is trimmed in the accounts that these readers follow.
    section.floor = 1;
    loop {
        let request = SubscribeRequest {
            heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..everything(post.account, cursor.clone().map_or(Start::Earliest(()), Start::After))
        };
        let asked = client
            .post(format!("http://{}/parley.v1.EventsService/Subscribe", post.listeners().grpc))
            .version(Version::HTTP_11)
            .header("content-type", "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .header("api_access_token", ADMINISTRATOR)
            .body(framed(&request))
            .send();
        let ending = match tokio::time::timeout(GIVE_UP, asked).await {
            Ok(Ok(response)) => match told(response.headers()) {
                Some(ending) => Some(ending),
                None => follow(&post, response, &mut section, &mut cursor).await,
            },
            _ => Some(Ending::Broken),
        };
        let late = post.due().is_some_and(|(head, until)| {
            let (at, late) = (section.position(), Instant::now() >= until);
            section.stuck = late && at < head;
            late
        });
        section.steps.extend(ending.clone().map(Step::Ended));
        if ending.is_none() || late {
            post.note(|history| history.sections.push(section));
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Follows one stream. `None` once the whole log has been read.
async fn follow(post: &Post, mut response: reqwest::Response, section: &mut Section, cursor: &mut Option<Bytes>) -> Option<Ending> {
    let (mut end, mut rest) = (post.end.clone(), BytesMut::new());
    end.borrow_and_update();
    loop {
        if let Some((head, until)) = post.due()
            && (section.position() >= head || Instant::now() >= until)
        {
            section.stuck = section.position() < head;
            return None;
        }
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(SILENCE, response.chunk()) => chunk,
            changed = end.changed() => {
                changed.expect("the traffic outlives its readers");
                continue;
            }
        };
        match chunk {
            Ok(Ok(Some(chunk))) => rest.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) => return Some(Ending::Broken),
            Err(_) => return Some(Ending::Silent),
        }
        while let Some((trailers, message)) = frame(&mut rest) {
            if trailers {
                return Some(ending(&message));
            }
            let response = SubscribeResponse::decode(message).expect("a frame holds a message");
            take(section, cursor, &response);
        }
    }
}
