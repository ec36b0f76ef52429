//! Fan-out: bursts to many subscribers that decode everything, and the way from reply to event.

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
    seat::{Burst, Seats},
    support::{
        bare::{self, Client},
        gauge::{cpu_seconds, median},
        server::authorized,
        table::{Sense, Table, Yardstick},
        world::{Places, World, draft, message},
    },
    yard::Yard,
};

/// Connections that subscribers share.
const CONNECTIONS: usize = 8;
/// Messages in one call, the most there may be.
const BATCH: usize = 500;
/// Calls in flight while writing flat out.
const CALLS: usize = 4;

/// The row for writes flat out, and how many calls they are; the row for bursts of one write each, and how many bursts. One
/// subscriber gets a write in a single frame, between whose first and last event no time passes: that row would be without meaning.
const SIZES: [Size; 3] = [
    Size {
        subscribers: 1,
        flat_out: ("fan-out to 1, writing flat out / bare stream", 40),
        single: None,
    },
    Size {
        subscribers: 100,
        flat_out: ("fan-out to 100, writing flat out / bare stream", 20),
        single: Some(("fan-out to 100, bursts of one write / bare stream", 10)),
    },
    Size {
        subscribers: 1000,
        flat_out: ("fan-out to 1000, writing flat out / bare stream", 4),
        single: Some(("fan-out to 1000, bursts of one write / bare stream", 3)),
    },
];

/// A number of subscribers and what is measured with it.
struct Size {
    subscribers: usize,
    flat_out: (&'static str, usize),
    single: Option<(&'static str, usize)>,
}

/// One round over all numbers of subscribers.
pub async fn round(yard: &mut Yard, options: &Options, table: &mut Table) {
    for size in SIZES {
        compare(yard, options, table, size.subscribers, size.flat_out.0, 1, size.flat_out.1).await;
        if let Some((name, bursts)) = size.single {
            compare(yard, options, table, size.subscribers, name, bursts, 1).await;
        }
    }
}

/// Some bursts of so many calls each, bare and own, one right after the other.
async fn compare(
    yard: &mut Yard,
    options: &Options,
    table: &mut Table,
    subscribers: usize,
    name: &'static str,
    bursts: usize,
    calls: usize,
) {
    let bare = bare_bursts(yard.bare(), subscribers, bursts, calls).await;
    let world = yard.postgres_world(options).await;
    let seats = subscribe(world, subscribers).await;
    let own = own_bursts(world, &seats, bursts, calls).await;
    let mark = Yardstick {
        name,
        unit: "events/s",
        sense: Sense::AtLeast,
        mark: 0.8,
        goal: 1.2,
    };
    table.compare(mark, own.rate(), bare.rate());
    table.note(
        name,
        format!("CPU s per million events, last round: {own} (writing included); bare: {bare}"),
    );
}

/// One round of the time between a reply and its event.
pub async fn latency_round(yard: &mut Yard, options: &Options, table: &mut Table) {
    let world = yard.postgres_world(options).await;
    let (arrivals, mut arrived) = mpsc::channel(16);
    let request = pb::SubscribeRequest {
        account_id: 1,
        ..Default::default()
    };
    let mut subscriber = EventsServiceClient::new(world.server.connect().await);
    let mut stream = subscriber
        .subscribe(authorized(request))
        .await
        .expect("the account is there")
        .into_inner();
    let reader = tokio::spawn(async move {
        while let Some(response) = stream.message().await.expect("the stream goes on") {
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
    let mut client = MessagesServiceClient::new(world.server.connect().await);
    let (mut after_reply, mut reply, mut whole, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0_u32);
    let millis = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
    for _ in 0..options.samples {
        let request = authorized(message(1, world.places.any_of_first()));
        let begun = Instant::now();
        let made = client.create_message(request).await.expect("the message is good");
        let replied = Instant::now();
        let sent = made.into_inner().message.expect("always set").id;
        let (id, event) = arrived.recv().await.expect("the stream goes on");
        assert_eq!(id, sent, "one message, one event, nobody else writes");
        // An event that came before the reply counts as no time at all.
        after_reply.push(millis(replied, event));
        reply.push(millis(begun, replied));
        whole.push(millis(begun, event));
        first += u32::from(event < replied);
    }
    reader.abort();
    let mark = Yardstick {
        name: "reply to event, p50",
        unit: "ms",
        sense: Sense::AtMost,
        mark: 0.5,
        goal: 0.2,
    };
    table.absolute(mark, median(&after_reply));
    table.note(
        mark.name,
        format!(
            "last round: call to reply {:.3} ms, call to event {:.3} ms (p50), the event first in {first} of {}",
            median(&reply),
            median(&whole),
            options.samples
        ),
    );
}

/// The id of the message that a delivery tells the creation of.
fn created(delivery: pb::EventDelivery) -> Option<i64> {
    let event = delivery.event?;
    let is_creation = event.kind() == pb::EventKind::MessageCreated;
    match event.resource? {
        pb::event::Resource::Message(resource) if is_creation => Some(resource.message?.id),
        _ => None,
    }
}

async fn subscribe(world: &World, subscribers: usize) -> Seats {
    let mut seats = Seats::new();
    let channels = world.server.connections(CONNECTIONS.min(subscribers)).await;
    for number in 0..subscribers {
        let request = pb::SubscribeRequest {
            account_id: 1,
            ..Default::default()
        };
        let mut client = EventsServiceClient::new(channels[number % channels.len()].clone());
        let stream = client
            .subscribe(authorized(request))
            .await
            .expect("the account is there")
            .into_inner();
        seats.sit(stream.filter_map(|response| {
            let events = response.expect("the stream goes on").events;
            // Bookmarks come without events.
            let last = events.last().and_then(|delivery| delivery.event.as_ref()).map(|event| event.seq);
            std::future::ready(last.map(|seq| (events.len() as u64, seq)))
        }));
    }
    // A burst that is not counted: connections and caches are cold.
    let target = write(world, 1).await;
    seats.wait_for(target).await;
    seats
}

/// Several bursts of so many calls, one after another.
async fn own_bursts(world: &World, seats: &Seats, bursts: usize, calls: usize) -> Burst {
    let mut total = Burst::default();
    for _ in 0..bursts {
        seats.clear();
        let cpu = (cpu_seconds(world.server.pid()), cpu_seconds(std::process::id()));
        let target = write(world, calls).await;
        seats.wait_for(target).await;
        total.add(seats.burst(cpu_seconds(world.server.pid()) - cpu.0, cpu_seconds(std::process::id()) - cpu.1));
    }
    total
}

async fn bare_bursts(bare: &bare::Process, subscribers: usize, bursts: usize, calls: usize) -> Burst {
    let channels = bare.connections(CONNECTIONS.min(subscribers)).await;
    let mut seats = Seats::new();
    for number in 0..subscribers {
        let stream = Client::new(channels[number % channels.len()].clone())
            .stream()
            .await
            .expect("the bare server streams");
        seats.sit(stream.map(|payload| (1, payload.expect("the stream goes on").id)));
    }
    let mut client = Client::new(channels[0].clone());
    let count = (calls * BATCH) as u64;
    client.burst(BATCH as u64).await.expect("the bare server answers");
    seats.wait_for(BATCH as u64).await;
    let mut total = Burst::default();
    for _ in 0..bursts {
        seats.clear();
        let cpu = (cpu_seconds(bare.pid()), cpu_seconds(std::process::id()));
        client.burst(count).await.expect("the bare server answers");
        seats.wait_for(count).await;
        total.add(seats.burst(cpu_seconds(bare.pid()) - cpu.0, cpu_seconds(std::process::id()) - cpu.1));
    }
    total
}

/// Writes so many calls of messages into account 1; the seq of the last event.
async fn write(world: &World, calls: usize) -> u64 {
    let channel = world.server.connect().await;
    let left = Arc::new(AtomicUsize::new(calls));
    let mut tasks = JoinSet::new();
    for _ in 0..CALLS.min(calls) {
        tasks.spawn(writer(channel.clone(), world.places.clone(), left.clone()));
    }
    tasks.join_all().await.into_iter().max().unwrap_or_default()
}

async fn writer(channel: Channel, places: Arc<Places>, left: Arc<AtomicUsize>) -> u64 {
    let mut client = MessagesServiceClient::new(channel);
    let mut last = 0;
    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        let messages = (0..BATCH)
            .map(|_| pb::BatchMessage {
                conversation_id: places.any_of_first(),
                message: Some(draft()),
            })
            .collect();
        let request = pb::BatchCreateMessagesRequest {
            account_id: 1,
            messages,
            ..Default::default()
        };
        let made = client
            .batch_create_messages(authorized(request))
            .await
            .expect("the messages are good")
            .into_inner();
        last = made.messages.iter().map(|message| message.version).max().unwrap_or_default();
    }
    last
}
