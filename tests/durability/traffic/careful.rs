//! A durable consumer that grants little credit at a time, and records its grants and deliveries.

use bytes::Bytes;
use parley_proto::{ConsumeCommit, ConsumeCredit, ConsumeOpen, ConsumeRequest, consume_open::Start, consume_request, consume_response};
use rand::{Rng as _, rngs::StdRng};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{AGAIN, GIVE_UP, Post, reader::SILENCE};
use crate::{
    archive::fingerprint,
    history::{Session, Work},
    support::reader::event,
};

/// Consumes until the traffic ends.
pub async fn take(post: Post) {
    let mut choices = post.choices();
    while post.due().is_none() {
        let session = session(&post, &mut choices).await;
        post.note(|history| history.sessions.extend(session));
        tokio::time::sleep(AGAIN).await;
    }
}

fn credit(choices: &mut StdRng) -> ConsumeCredit {
    ConsumeCredit {
        events: choices.random_range(1..400),
        bytes: 0,
    }
}

fn say(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest { request: Some(request) }
}

/// One session. `None` if it did not open.
async fn session(post: &Post, choices: &mut StdRng) -> Option<Session> {
    let granted = credit(choices);
    let open = ConsumeOpen {
        account_id: post.account,
        consumer: "careful".to_owned(),
        start: Some(Start::Earliest(())),
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        credit: Some(granted),
        ..ConsumeOpen::default()
    };
    let (said, saying) = mpsc::channel(16);
    said.send(say(consume_request::Request::Open(open))).await.ok()?;
    let clients = post.clients();
    let mut events = clients.events.clone();
    let call = events.consume(ReceiverStream::new(saying));
    let mut stream = tokio::time::timeout(GIVE_UP, call).await.ok()?.ok()?.into_inner();
    let mut session = Session {
        consumer: "careful",
        steps: vec![Work::Granted(granted.events.into())],
        ..Session::default()
    };
    let (mut left, mut last) = (u64::from(granted.events), None::<Bytes>);
    loop {
        if post.due().is_some() {
            return Some(session).filter(|session| session.fence > 0);
        }
        let Ok(Ok(Some(response))) = tokio::time::timeout(SILENCE, stream.message()).await else {
            return Some(session).filter(|session| session.fence > 0);
        };
        match response.response {
            Some(consume_response::Response::Opened(opened)) => session.fence = opened.fence,
            Some(consume_response::Response::Committed(committed)) => session.steps.push(Work::Committed(committed.cursor)),
            Some(consume_response::Response::Delivery(delivery)) => {
                for delivery in &delivery.events {
                    let event = event(delivery);
                    let given = Work::Given(event.seq, event.event_id.clone(), fingerprint(event));
                    session.steps.push(given);
                    left = left.saturating_sub(1);
                    last = Some(delivery.cursor.clone());
                }
                if choices.random_bool(0.3)
                    && let Some(cursor) = last.take()
                {
                    drop(said.send(say(consume_request::Request::Commit(ConsumeCommit { cursor }))).await);
                }
                if left == 0 {
                    let more = credit(choices);
                    // Record the grant first: the server may use it before the call returns.
                    session.steps.push(Work::Granted(more.events.into()));
                    left = more.events.into();
                    drop(said.send(say(consume_request::Request::Credit(more))).await);
                }
            }
            None => {}
        }
    }
}
