//! Memory: of the idle service, and of each subscriber that waits.

use std::time::Duration;

use parley::pb::{self, events_service_client::EventsServiceClient};
use tonic::Streaming;

use crate::{
    support::{
        gauge::resident_kb,
        server::{Server, authorized},
        table::{Sense, Table, Yardstick},
    },
    yard::Yard,
};

/// Subscribers that are counted.
const SUBSCRIBERS: usize = 1000;
/// How long memory is given to settle: three of the heartbeats asked for.
const SETTLE: Duration = Duration::from_secs(3);

/// One round: two fresh servers on empty SQLite files, as they start without any setting.
pub async fn round(yard: &mut Yard, number: usize, table: &mut Table) {
    for (connections, name, mark, goal) in [
        (SUBSCRIBERS, "idle subscriber on its own connection", 36.0, 29.0),
        (SUBSCRIBERS / 100, "idle subscriber, one stream of 100", 16.0, 10.0),
    ] {
        let server = Server::start(&yard.sqlite_url(&format!("memory-{number}-{connections}.db")));
        tokio::time::sleep(SETTLE).await;
        let idle = resident_kb(server.pid());
        let row = Yardstick {
            name: "the idle service",
            unit: "MB",
            sense: Sense::AtMost,
            mark: 30.0,
            goal: 18.0,
        };
        if connections == SUBSCRIBERS {
            table.absolute(row, idle / 1024.0);
        }
        let mut streams = Vec::with_capacity(SUBSCRIBERS);
        for channel in server.connections(connections).await {
            for _ in 0..SUBSCRIBERS / connections {
                streams.push(subscribe(EventsServiceClient::new(channel.clone())).await);
            }
        }
        let readers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(drain(stream))).collect();
        tokio::time::sleep(SETTLE).await;
        let each = (resident_kb(server.pid()) - idle) / SUBSCRIBERS as f64;
        table.absolute(
            Yardstick {
                name,
                unit: "kB",
                sense: Sense::AtMost,
                mark,
                goal,
            },
            each,
        );
        for reader in readers {
            assert!(!reader.is_finished(), "a subscriber's stream ended");
            reader.abort();
        }
    }
}

async fn subscribe(mut client: EventsServiceClient<tonic::transport::Channel>) -> Streaming<pb::SubscribeResponse> {
    let request = pb::SubscribeRequest {
        account_id: 1,
        // The shortest: what a bookmark leaves behind counts too.
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    client
        .subscribe(authorized(request))
        .await
        .expect("the account is there")
        .into_inner()
}

async fn drain(mut stream: Streaming<pb::SubscribeResponse>) {
    while let Ok(Some(_)) = stream.message().await {}
}
