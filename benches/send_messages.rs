//! `SendMessages`: the throughput of importers, compared with the ceiling of batched inserts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parley_proto::{self as pb, messages_service_client::MessagesServiceClient};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{
    Options,
    harness::Harness,
    support::{
        fixture::{Conversations, Fixture, draft},
        server::authorized,
        sql::batch_ceiling,
        table::{Bound, Table, Target},
    },
};

/// Maximum number of unacknowledged messages of a stream.
const IN_FLIGHT: usize = 512;

/// One round with one stream and with eight.
pub async fn round(harness: &mut Harness, options: &Options, table: &mut Table) {
    let ceiling = batch_ceiling(&harness.cluster.url("naive"), options.seconds).await;
    let fixture = harness.postgres_fixture(options).await;
    for (streams, name) in [
        (1, "SendMessages, one stream / batch ceiling"),
        (8, "SendMessages, eight streams / batch ceiling"),
    ] {
        let sent = send(fixture, streams, options.seconds).await;
        let target = Target {
            name,
            unit: "messages/s",
            bound: Bound::AtLeast,
            required: 0.45,
            goal: 0.65,
        };
        table.compare(target, sent, ceiling);
    }
}

/// Returns acknowledged messages per second.
async fn send(fixture: &Fixture, streams: usize, seconds: u64) -> f64 {
    let mut tasks = JoinSet::new();
    let channels = fixture.server.connections(streams.min(4)).await;
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    for number in 0..streams {
        tasks.spawn(stream(
            channels[number % channels.len()].clone(),
            fixture.conversations.clone(),
            end,
        ));
    }
    let count: usize = tasks.join_all().await.into_iter().sum();
    count as f64 / started.elapsed().as_secs_f64()
}

async fn stream(channel: Channel, conversations: Arc<Conversations>, end: Instant) -> usize {
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
    let free = Arc::new(Semaphore::new(IN_FLIGHT));
    let permits = free.clone();
    tokio::spawn(async move {
        while Instant::now() < end {
            let permit = permits.acquire().await.expect("the semaphore is never closed");
            permit.forget();
            let (account_id, conversation_id) = conversations.any();
            let request = pb::SendMessagesRequest {
                account_id,
                conversation_id,
                message: Some(draft()),
                ..Default::default()
            };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    let mut client = MessagesServiceClient::new(channel);
    let response = client.send_messages(authorized(ReceiverStream::new(outgoing))).await;
    let mut responses = response.expect("the stream opens").into_inner();
    let mut count = 0;
    while let Some(response) = responses.message().await.expect("the stream is open") {
        for result in &response.results {
            assert!(result.error.is_none(), "a message was refused: {:?}", result.error);
        }
        count += response.results.len();
        free.add_permits(response.results.len());
    }
    count
}
