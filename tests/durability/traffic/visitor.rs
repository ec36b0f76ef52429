//! Readers that come and go, each time with a different filter, starting point and speed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parley_proto::{EventFilter, EventKind, GetLogInfoRequest, MessageType};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    AGAIN, GIVE_UP, Post,
    reader::{Manner, read},
};
use crate::history::{Begin, ReaderApi, Section};

const KINDS: [EventKind; 8] = [
    EventKind::MessageCreated,
    EventKind::MessageUpdated,
    EventKind::ConversationCreated,
    EventKind::ConversationUpdated,
    EventKind::ConversationStatusChanged,
    EventKind::ContactCreated,
    EventKind::ContactUpdated,
    EventKind::ContactDeleted,
];

const TYPES: [MessageType; 3] = [MessageType::Incoming, MessageType::Outgoing, MessageType::Activity];

/// Visits until the traffic ends. The last visit reads to the head of the log.
pub async fn come_and_go(mut post: Post) {
    let mut choices = post.choices();
    let mut known: Vec<(u64, Bytes)> = Vec::new();
    while post.due().is_none() {
        post.own = choices.random_range(0..post.servers.len());
        let mut filter = filter(&post, &mut choices);
        let Some((begin, cursor)) = begin(&post, &known, &mut choices).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        if begin == Begin::Snapshot && choices.random_bool(0.6) {
            filter = EventFilter::default();
        }
        let stays = begin == Begin::Snapshot && choices.random_bool(0.5);
        let manner = Manner {
            leaves_after: (!stays).then(|| choices.random_range(1..3000)),
            pause: Duration::from_millis(if choices.random_bool(0.3) {
                choices.random_range(10..200)
            } else {
                0
            }),
            ephemeral: choices.random_bool(0.5),
        };
        let section = Section::new(&post.name, post.account, ReaderApi::Grpc, filter, begin);
        let section = visit(&post, section, cursor, manner, &mut choices).await;
        let events: Vec<_> = section
            .events()
            .map(|delivered| (delivered.seq, delivered.cursor.clone()))
            .collect();
        known.extend(events.choose_multiple(&mut choices, 5).cloned());
        let surplus = known.len().saturating_sub(20);
        known.drain(..surplus);
        post.note(|history| history.sections.push(section));
    }
}

/// Bounds the duration of a visit: a filter may match no event for a long time.
async fn visit(post: &Post, section: Section, cursor: Option<Bytes>, manner: Manner, choices: &mut StdRng) -> Section {
    let mut short = post.clone();
    let (told, end) = tokio::sync::watch::channel(None);
    short.end = end;
    let mut outer = post.end.clone();
    let lasts = Duration::from_millis(choices.random_range(300..4000));
    let reading = read(&short, section, cursor, manner);
    tokio::pin!(reading);
    tokio::select! {
        section = &mut reading => return section,
        () = tokio::time::sleep(lasts), if manner.leaves_after.is_some() => {
            told.send_replace(Some((BTreeMap::new(), Instant::now())));
        }
        _ = outer.changed() => {
            told.send_replace(outer.borrow().clone());
        }
    }
    reading.await
}

fn filter(post: &Post, choices: &mut StdRng) -> EventFilter {
    let mut filter = EventFilter::default();
    if choices.random_bool(0.3) {
        return filter;
    }
    let some = |choices: &mut StdRng| choices.random_range(1..4);
    if choices.random_bool(0.4) {
        let count = some(choices);
        filter.kinds = KINDS.choose_multiple(choices, count).map(|kind| i32::from(*kind)).collect();
    }
    if choices.random_bool(0.3) {
        let count = some(choices);
        filter.conversation_ids = post.conversations.choose_multiple(choices, count).copied().collect();
    }
    if choices.random_bool(0.2) {
        filter.contact_ids = (0..some(choices)).map(|_| choices.random_range(1..30)).collect();
    }
    if choices.random_bool(0.2) {
        filter.inbox_ids = vec![if choices.random_bool(0.8) { post.inbox } else { 999 }];
    }
    if choices.random_bool(0.3) {
        let count = some(choices).min(2);
        filter.message_types = TYPES.choose_multiple(choices, count).map(|kind| i32::from(*kind)).collect();
    }
    if choices.random_bool(0.2) {
        filter.private = Some(choices.random_bool(0.5));
    }
    filter
}

/// The head of the log.
async fn head(post: &Post) -> Option<u64> {
    let request = GetLogInfoRequest { account_id: post.account };
    let mut events = post.clients().events;
    let info = tokio::time::timeout(GIVE_UP, events.get_log_info(request)).await.ok()?.ok()?;
    Some(info.into_inner().head_seq)
}

/// Chooses a starting point and its cursor. `None` if the head of the log is unavailable at the moment.
async fn begin(post: &Post, known: &[(u64, Bytes)], choices: &mut StdRng) -> Option<(Begin, Option<Bytes>)> {
    let kind = choices.random_range(0..5);
    Some(match kind {
        0 => {
            let head = head(post).await?;
            (Begin::Latest { head }, None)
        }
        // In the busy account, the fault `Age` changes times in the rows but not in the encoded events, so a start by time cannot be
        // checked.
        1 if post.account != 1 => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
            let back = Duration::from_millis(choices.random_range(0..4000));
            let micros = i64::try_from(now.saturating_sub(back).as_micros()).expect("not that late");
            let head = head(post).await?;
            (Begin::At { micros, head }, None)
        }
        2 if post.account != 1 => (Begin::Snapshot, None),
        3 | 4 if !known.is_empty() => {
            let (seq, cursor) = known.choose(choices).expect("it is not empty").clone();
            (Begin::After(seq), Some(cursor))
        }
        _ => (Begin::Earliest, None),
    })
}
