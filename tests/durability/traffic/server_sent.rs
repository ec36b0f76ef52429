//! A reader that uses Server-Sent Events and resumes with the id of its last event.

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parley_proto::EventFilter;
use serde_json::Value;

use super::{AGAIN, GIVE_UP, Post, reader::SILENCE};
use crate::{
    history::{Begin, Delivered, Ending, ReaderApi, Section, Step},
    support::{app::ADMINISTRATOR, http::client},
};

/// The fields of one event of the stream.
#[derive(Debug, Default)]
struct Said {
    id: Option<Bytes>,
    data: Option<Value>,
    /// The position of a bookmark.
    bookmark: Option<u64>,
}

impl Said {
    fn of(text: &str) -> Self {
        let mut said = Self::default();
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                said.id = URL_SAFE_NO_PAD.decode(id).ok().map(Bytes::from);
            } else if let Some(data) = line.strip_prefix("data: ") {
                said.data = serde_json::from_str(data).ok();
            } else if let Some(comment) = line.strip_prefix(": at ") {
                said.bookmark = comment.split(' ').next().and_then(|seq| seq.parse().ok());
            }
        }
        said
    }
}

/// Parses an event in the JSON form of `parley tail` and Server-Sent Events.
pub fn delivered(data: &Value, cursor: Bytes) -> Option<Delivered> {
    Some(Delivered {
        seq: data["seq"].as_u64()?,
        prev_seq: data["prev_seq"].as_u64()?,
        event_id: data["event_id"].as_str()?.to_owned(),
        fingerprint: None,
        cursor,
        tombstone: data["resource_type"] == "tombstone",
    })
}

/// Reads the whole log of an account.
pub async fn read(post: Post) {
    let (client, mut last) = (client(), None::<Bytes>);
    let mut section = Section::new(
        &post.name,
        post.account,
        ReaderApi::ServerSent,
        EventFilter::default(),
        Begin::Earliest,
    );
    // Nothing is trimmed in the accounts that these readers follow.
    section.floor = 1;
    loop {
        let path = format!("/api/v1/accounts/{}/events?start=earliest&heartbeat=1", post.account);
        let mut request = client
            .get(format!("http://{}{path}", post.listeners().http))
            .header("api_access_token", ADMINISTRATOR);
        if let Some(last) = &last {
            request = request.header("last-event-id", URL_SAFE_NO_PAD.encode(last));
        }
        let ending = match tokio::time::timeout(GIVE_UP, request.send()).await {
            Ok(Ok(response)) if response.status() == 200 => follow(&post, response, &mut section, &mut last).await,
            Ok(Ok(response)) if response.status().as_u16() < 500 && response.status() != 429 => {
                let status = response.status();
                post.note(|history| history.refused.push(format!("{}: {status}", post.name)));
                None
            }
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
async fn follow(post: &Post, mut response: reqwest::Response, section: &mut Section, last: &mut Option<Bytes>) -> Option<Ending> {
    let (mut end, mut rest) = (post.end.clone(), Vec::new());
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
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let whole: Vec<u8> = rest.drain(..end + 2).collect();
            let said = Said::of(&String::from_utf8_lossy(&whole));
            let Some(id) = said.id else { continue };
            if let Some(delivered) = said.data.and_then(|data| delivered(&data, id.clone())) {
                section.steps.push(Step::Event(delivered));
            }
            section.steps.extend(said.bookmark.map(Step::Bookmark));
            *last = Some(id);
        }
    }
}
