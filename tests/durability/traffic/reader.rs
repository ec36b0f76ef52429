//! Readers that use `Subscribe`, across as many streams as it takes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use parley_proto::{EventFilter, SubscribeRequest, SubscribeResponse, event::Resource, subscribe_request::Start, upsert};
use tonic::Streaming;

use super::{AGAIN, GIVE_UP, Post};
use crate::{
    archive::fingerprint,
    history::{Begin, Delivered, Ending, ReaderApi, Section, Step},
    support::{
        clients::Clients,
        reader::{event, everything},
    },
};

/// How long a stream with a bookmark interval of one second may be silent before it is reopened.
pub const SILENCE: Duration = Duration::from_secs(5);

/// How a reader behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// The number of events after which it leaves. `None` reads to the head.
    pub leaves_after: Option<usize>,
    /// The pause after each response.
    pub pause: Duration,
    /// Whether it also subscribes to ephemeral events.
    pub ephemeral: bool,
}

/// Reads the whole log to its head, and starts over whenever its cursor has expired.
pub async fn to_the_end(post: Post, filter: EventFilter) {
    loop {
        let section = Section::new(&post.name, post.account, ReaderApi::Grpc, filter.clone(), Begin::Earliest);
        if keep(&post, section).await {
            return;
        }
    }
}

/// Reads a section to its end and records it. Returns false if its position was lost.
pub async fn keep(post: &Post, section: Section) -> bool {
    let section = read(post, section, None, Manner::default()).await;
    let lost = section
        .steps
        .last()
        .is_some_and(|step| matches!(step, Step::Ended(ending) if ending.is_lost()));
    post.note(|history| history.sections.push(section));
    !lost
}

/// Reads a section until the reader leaves, its position is lost, or the head is reached.
pub async fn read(post: &Post, mut section: Section, mut cursor: Option<Bytes>, manner: Manner) -> Section {
    loop {
        let start = match (&cursor, &section.begin) {
            (Some(cursor), _) => Start::After(cursor.clone()),
            (None, Begin::Latest { .. }) => Start::Latest(()),
            (None, Begin::At { micros, .. }) => Start::At(prost_types::Timestamp {
                seconds: micros.div_euclid(1_000_000),
                nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).expect("less than a second"),
            }),
            (None, Begin::Snapshot) => Start::Snapshot(()),
            (None, Begin::Earliest | Begin::After(_)) => Start::Earliest(()),
        };
        if start == Start::Snapshot(()) {
            // A partial snapshot is useless; the next stream starts a new one.
            section.upserts.clear();
        }
        let clients = post.clients();
        let request = SubscribeRequest {
            heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            filter: (!section.is_whole()).then(|| section.filter.clone()),
            ephemeral: manner.ephemeral,
            ..everything(post.account, start)
        };
        let mut events = clients.events.clone();
        let opened = tokio::time::timeout(GIVE_UP, events.subscribe(request)).await;
        let ending = match opened {
            Ok(Ok(stream)) => follow(post, &clients, stream.into_inner(), &mut section, &mut cursor, manner).await,
            Ok(Err(status)) => Some(Ending::of(&status)),
            Err(_) => Some(Ending::Silent),
        };
        let Some(ending) = ending else { return section };
        let lost = ending.is_lost();
        section.steps.push(Step::Ended(ending));
        let late = post.due().is_some_and(|(_, until)| Instant::now() >= until);
        if lost || late {
            section.stuck = late && !lost && manner.leaves_after.is_none();
            return section;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Follows one stream. `None` if the reader left by itself.
async fn follow(
    post: &Post,
    clients: &Clients,
    mut stream: Streaming<SubscribeResponse>,
    section: &mut Section,
    cursor: &mut Option<Bytes>,
    manner: Manner,
) -> Option<Ending> {
    let mut end = post.end.clone();
    end.borrow_and_update();
    loop {
        if let Some((head, until)) = post.due() {
            let left = manner.leaves_after.is_some();
            if left || section.position() >= head || Instant::now() >= until {
                section.stuck = !left && section.position() < head;
                return None;
            }
        }
        let taken = tokio::select! {
            taken = tokio::time::timeout(SILENCE, stream.message()) => taken,
            changed = end.changed() => {
                changed.expect("the traffic outlives its readers");
                continue;
            }
        };
        let response = match taken {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return Some(Ending::Well),
            Ok(Err(status)) => return Some(Ending::of(&status)),
            Err(_) => return Some(Ending::Silent),
        };
        take(section, cursor, &response);
        if section.floor == 0 {
            floor(post, clients, section).await;
        }
        if manner.leaves_after.is_some_and(|most| section.events().count() >= most) {
            return None;
        }
        // Stop pausing once all writers have stopped: the backlog is many small responses.
        if !manner.pause.is_zero() && post.due().is_none() {
            tokio::time::sleep(manner.pause).await;
        }
    }
}

/// Sets the first event that a reader must not skip once its stream is open.
async fn floor(post: &Post, clients: &Clients, section: &mut Section) {
    let request = parley_proto::GetLogInfoRequest { account_id: post.account };
    let mut events = clients.events.clone();
    let Ok(Ok(info)) = tokio::time::timeout(GIVE_UP, events.get_log_info(request)).await else {
        return;
    };
    let info = info.into_inner();
    section.floor = match section.begin {
        Begin::Latest { .. } => info.head_seq + 1,
        _ => info.earliest_seq,
    };
    post.note(|history| {
        history.epochs.entry(post.account).or_default().insert(info.epoch);
    });
}

/// Records the content of a response.
pub fn take(section: &mut Section, cursor: &mut Option<Bytes>, response: &SubscribeResponse) {
    for upsert in &response.upserts {
        let about = match &upsert.resource {
            Some(upsert::Resource::Inbox(it)) => ("inbox", it.id),
            Some(upsert::Resource::Contact(it)) => ("contact", it.id),
            Some(upsert::Resource::Conversation(it)) => ("conversation", it.id),
            Some(upsert::Resource::Message(it)) => ("message", it.id),
            None => continue,
        };
        section.upserts.push((about.0, about.1, upsert.version));
    }
    if let Some(complete) = &response.snapshot_complete {
        section.complete = Some(complete.cursor.clone());
        *cursor = Some(complete.cursor.clone());
    }
    for delivery in &response.events {
        let event = event(delivery);
        section.steps.push(Step::Event(Delivered {
            seq: event.seq,
            prev_seq: delivery.prev_seq,
            event_id: event.event_id.clone(),
            fingerprint: Some(fingerprint(event)),
            cursor: delivery.cursor.clone(),
            tombstone: matches!(event.resource, Some(Resource::Tombstone(_))),
        }));
        *cursor = Some(delivery.cursor.clone());
    }
    let ephemeral = response.ephemeral.iter().filter_map(|it| it.conversation_id);
    section.steps.extend(ephemeral.map(Step::Ephemeral));
    if let Some(bookmark) = &response.bookmark {
        section.steps.push(Step::Bookmark(bookmark.seq));
        *cursor = Some(bookmark.cursor.clone());
    }
}
