//! Fan-out: bursts to many subscribers that decode every event, and the latency from a response to its event.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use futures_util::StreamExt as _;
use parley_proto::{self as pb, events_service_client::EventsServiceClient, messages_service_client::MessagesServiceClient};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Channel;

use crate::{
    Options,
    harness::Harness,
    subscriber_group::{Burst, SubscriberGroup},
    support::{
        baseline::{self, Client},
        fixture::{Conversations, Fixture, draft, message},
        measurements::{cpu_seconds, median},
        server::authorized,
        table::{Bound, Table, Target},
    },
};

/// Number of connections that subscribers share.
const CONNECTIONS: usize = 8;
/// Number of messages in one call, which is the maximum.
const BATCH: usize = 500;
/// Number of calls in flight when writing at full speed.
const CALLS: usize = 4;

/// For each number of subscribers: the row for writing at full speed with its number of calls, and the row for bursts of one write with its
/// number of bursts. A single subscriber receives one write in a single frame, so no time passes between the first and the last event, and
/// the second row would be meaningless.
const SIZES: [Size; 3] = [
    Size {
        subscribers: 1,
        flat_out: ("fan-out to 1, writing flat out / tonic stream", 40),
        single: None,
    },
    Size {
        subscribers: 100,
        flat_out: ("fan-out to 100, writing flat out / tonic stream", 20),
        single: Some(("fan-out to 100, bursts of one write / tonic stream", 10)),
    },
    Size {
        subscribers: 1000,
        flat_out: ("fan-out to 1000, writing flat out / tonic stream", 4),
        single: Some(("fan-out to 1000, bursts of one write / tonic stream", 3)),
    },
];

/// A number of subscribers and its measurements.
struct Size {
    subscribers: usize,
    flat_out: (&'static str, usize),
    single: Option<(&'static str, usize)>,
}

/// One round over all numbers of subscribers.
pub async fn round(harness: &mut Harness, options: &Options, table: &mut Table) {
    for size in SIZES {
        compare(harness, options, table, size.subscribers, size.flat_out.0, 1, size.flat_out.1).await;
        if let Some((name, bursts)) = size.single {
            compare(harness, options, table, size.subscribers, name, bursts, 1).await;
        }
    }
}

/// Measures `bursts` bursts of `calls` calls, first on the baseline server and then on Parley.
async fn compare(
    harness: &mut Harness,
    options: &Options,
    table: &mut Table,
    subscribers: usize,
    name: &'static str,
    bursts: usize,
    calls: usize,
) {
    let baseline = baseline_bursts(harness.baseline(), subscribers, bursts, calls).await;
    let fixture = harness.postgres_fixture(options).await;
    let group = subscribe(fixture, subscribers).await;
    let own = parley_bursts(fixture, &group, bursts, calls).await;
    let target = Target {
        name,
        unit: "events/s",
        bound: Bound::AtLeast,
        required: 0.8,
        goal: 1.2,
    };
    table.compare(target, own.rate(), baseline.rate());
    table.note(
        name,
        format!("CPU s per million events, last round: {own} (writing included); baseline: {baseline}"),
    );
}

/// One round of the time between a response and its event.
pub async fn latency_round(harness: &mut Harness, options: &Options, table: &mut Table) {
    let fixture = harness.postgres_fixture(options).await;
    let (arrivals, mut arrived) = mpsc::channel(16);
    let request = pb::SubscribeRequest {
        account_id: 1,
        ..Default::default()
    };
    let mut subscriber = EventsServiceClient::new(fixture.server.connect().await);
    let mut stream = subscriber
        .subscribe(authorized(request))
        .await
        .expect("the account exists")
        .into_inner();
    let reader = tokio::spawn(async move {
        while let Some(response) = stream.message().await.expect("the stream is open") {
            let now = Instant::now();
            for delivery in response.events {
                if let Some(id) = created(delivery)
                    && arrivals.send((id, now)).await.is_err()
                {
                    return;
                }
            }
        }
    });
    let mut client = MessagesServiceClient::new(fixture.server.connect().await);
    let (mut after_reply, mut reply, mut whole, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0_u32);
    let millis = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
    for _ in 0..options.samples {
        let request = authorized(message(1, fixture.conversations.random_in_first_account()));
        let started = Instant::now();
        let response = client.create_message(request).await.expect("the message is valid");
        let replied = Instant::now();
        let sent = response.into_inner().message.expect("always set").id;
        let (id, event) = arrived.recv().await.expect("the stream is open");
        assert_eq!(id, sent, "each message has one event, and there are no other writers");
        // An event that arrives before the response counts as zero latency.
        after_reply.push(millis(replied, event));
        reply.push(millis(started, replied));
        whole.push(millis(started, event));
        first += u32::from(event < replied);
    }
    reader.abort();
    let target = Target {
        name: "reply to event, p50",
        unit: "ms",
        bound: Bound::AtMost,
        required: 0.5,
        goal: 0.2,
    };
    table.absolute(target, median(&after_reply));
    table.note(
        target.name,
        format!(
            "last round: call to reply {:.3} ms, call to event {:.3} ms (p50), the event first in {first} of {}",
            median(&reply),
            median(&whole),
            options.samples
        ),
    );
}

/// Returns the message ID if the delivery is a `message.created` event.
fn created(delivery: pb::EventDelivery) -> Option<i64> {
    let event = delivery.event?;
    let is_creation = event.kind() == pb::EventKind::MessageCreated;
    match event.resource? {
        pb::event::Resource::Message(resource) if is_creation => Some(resource.message?.id),
        _ => None,
    }
}

async fn subscribe(fixture: &Fixture, subscribers: usize) -> SubscriberGroup {
    let mut group = SubscriberGroup::new();
    let channels = fixture.server.connections(CONNECTIONS.min(subscribers)).await;
    for number in 0..subscribers {
        let request = pb::SubscribeRequest {
            account_id: 1,
            ..Default::default()
        };
        let mut client = EventsServiceClient::new(channels[number % channels.len()].clone());
        let stream = client
            .subscribe(authorized(request))
            .await
            .expect("the account exists")
            .into_inner();
        group.add(stream.filter_map(|response| {
            let events = response.expect("the stream is open").events;
            // Bookmarks contain no events.
            let last = events.last().and_then(|delivery| delivery.event.as_ref()).map(|event| event.seq);
            std::future::ready(last.map(|seq| (events.len() as u64, seq)))
        }));
    }
    // A warm-up burst that is not counted, because connections and caches are cold.
    let target = write(fixture, 1).await;
    group.wait_for(target).await;
    group
}

/// Runs `bursts` bursts of `calls` calls, one after another.
async fn parley_bursts(fixture: &Fixture, group: &SubscriberGroup, bursts: usize, calls: usize) -> Burst {
    let mut total = Burst::default();
    for _ in 0..bursts {
        group.reset();
        let cpu = (cpu_seconds(fixture.server.pid()), cpu_seconds(std::process::id()));
        let target = write(fixture, calls).await;
        group.wait_for(target).await;
        total.add(group.burst(cpu_seconds(fixture.server.pid()) - cpu.0, cpu_seconds(std::process::id()) - cpu.1));
    }
    total
}

async fn baseline_bursts(baseline: &baseline::Process, subscribers: usize, bursts: usize, calls: usize) -> Burst {
    let channels = baseline.connections(CONNECTIONS.min(subscribers)).await;
    let mut group = SubscriberGroup::new();
    for number in 0..subscribers {
        let stream = Client::new(channels[number % channels.len()].clone())
            .stream()
            .await
            .expect("the baseline server streams");
        group.add(stream.map(|payload| (1, payload.expect("the stream is open").id)));
    }
    let mut client = Client::new(channels[0].clone());
    let count = (calls * BATCH) as u64;
    client.burst(BATCH as u64).await.expect("the baseline server responds");
    group.wait_for(BATCH as u64).await;
    let mut total = Burst::default();
    for _ in 0..bursts {
        group.reset();
        let cpu = (cpu_seconds(baseline.pid()), cpu_seconds(std::process::id()));
        client.burst(count).await.expect("the baseline server responds");
        group.wait_for(count).await;
        total.add(group.burst(cpu_seconds(baseline.pid()) - cpu.0, cpu_seconds(std::process::id()) - cpu.1));
    }
    total
}

/// Writes `calls` calls of messages to account 1. Returns the sequence number of the last event.
async fn write(fixture: &Fixture, calls: usize) -> u64 {
    let channel = fixture.server.connect().await;
    let remaining = Arc::new(AtomicUsize::new(calls));
    let mut tasks = JoinSet::new();
    for _ in 0..CALLS.min(calls) {
        tasks.spawn(writer(channel.clone(), fixture.conversations.clone(), remaining.clone()));
    }
    tasks.join_all().await.into_iter().max().unwrap_or_default()
}

async fn writer(channel: Channel, conversations: Arc<Conversations>, remaining: Arc<AtomicUsize>) -> u64 {
    let mut client = MessagesServiceClient::new(channel);
    let mut last = 0;
    while remaining
        .fetch_update(Relaxed, Relaxed, |remaining| remaining.checked_sub(1))
        .is_ok()
    {
        let messages = (0..BATCH)
            .map(|_| pb::BatchMessage {
                conversation_id: conversations.random_in_first_account(),
                message: Some(draft()),
            })
            .collect();
        let request = pb::BatchCreateMessagesRequest {
            account_id: 1,
            messages,
            ..Default::default()
        };
        let response = client
            .batch_create_messages(authorized(request))
            .await
            .expect("the messages are valid")
            .into_inner();
        last = response.messages.iter().map(|message| message.version).max().unwrap_or_default();
    }
    last
}
