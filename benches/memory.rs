//! Memory of the idle service, and of each idle subscriber.

use std::time::Duration;

use parley_proto::{self as pb, events_service_client::EventsServiceClient};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tonic::Streaming;

use crate::{
    harness::Harness,
    support::{
        measurements::resident_kb,
        server::{Server, authorized},
        table::{Bound, Table, Target},
    },
};

/// The two numbers of subscribers that are measured.
const FEW: usize = 1000;
const MANY: usize = 10_000;
/// Time for memory to settle: three of the requested heartbeats.
const SETTLE: Duration = Duration::from_secs(3);

/// One round: fresh servers on empty SQLite files, with default settings.
pub async fn round(harness: &mut Harness, number: usize, table: &mut Table) {
    raise_limit();
    for (subscribers, connections, name, required, goal) in [
        (FEW, FEW, "idle subscriber on its own connection", 36.0, 29.0),
        (FEW, FEW / 100, "idle subscriber, one stream of 100", 16.0, 10.0),
        (MANY, MANY, "idle subscriber on its own connection, of 10,000", 36.0, 29.0),
        (MANY, MANY / 100, "idle subscriber, one stream of 100, of 10,000", 16.0, 10.0),
    ] {
        let url = harness.sqlite_url(&format!("memory-{number}-{subscribers}-{connections}.db"));
        // All streams use the same token here.
        let server = Server::start_with(&url, &[("PARLEY_LIMITS_STREAMS_PER_TOKEN", "0")]);
        tokio::time::sleep(SETTLE).await;
        let idle = resident_kb(server.pid());
        let row = Target {
            name: "idle service",
            unit: "MB",
            bound: Bound::AtMost,
            required: 30.0,
            goal: 18.0,
        };
        if connections == FEW {
            table.absolute(row, idle / 1024.0);
        }
        let mut streams = Vec::with_capacity(subscribers);
        for channel in server.connections(connections).await {
            for _ in 0..subscribers / connections {
                streams.push(subscribe(EventsServiceClient::new(channel.clone())).await);
            }
        }
        let readers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(drain(stream))).collect();
        tokio::time::sleep(SETTLE).await;
        let each = (resident_kb(server.pid()) - idle) / subscribers as f64;
        table.absolute(
            Target {
                name,
                unit: "kB",
                bound: Bound::AtMost,
                required,
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

/// Raises the limit of open files to its maximum for this process and its children: ten thousand connections exceed the usual limit.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised to the hard limit");
}

async fn subscribe(mut client: EventsServiceClient<tonic::transport::Channel>) -> Streaming<pb::SubscribeResponse> {
    let request = pb::SubscribeRequest {
        account_id: 1,
        // The shortest interval, so that memory used by bookmarks is included.
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    client
        .subscribe(authorized(request))
        .await
        .expect("the account exists")
        .into_inner()
}

async fn drain(mut stream: Streaming<pb::SubscribeResponse>) {
    while let Ok(Some(_)) = stream.message().await {}
}
