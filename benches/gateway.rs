//! The REST gateway compared with the gRPC API: the same calls to the same service, one API after the other.

use std::time::{Duration, Instant};

use parley_proto::{ListMessagesRequest, messages_service_client::MessagesServiceClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Options,
    support::{
        CONTENT,
        server::{authorized, json_client},
        table::{Sense, Table, Yardstick},
        world::{World, message},
    },
    yard::Yard,
};

/// Number of calls in flight on either API.
const IN_FLIGHT: usize = 64;
/// Number of gRPC connections that share them.
const CONNECTIONS: usize = 4;

/// The measured call.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Create,
    List,
}

/// One round of both calls on both APIs.
pub async fn round(yard: &mut Yard, options: &Options, table: &mut Table) {
    let world = yard.postgres_world(options).await;
    for (ask, name) in [
        (Ask::Create, "create a message, JSON door / gRPC door"),
        (Ask::List, "list 20 messages, JSON door / gRPC door"),
    ] {
        let grpc = grpc(world, ask, options.seconds).await;
        let json = json(world, ask, options.seconds).await;
        let mark = Yardstick {
            name,
            unit: "calls/s",
            sense: Sense::AtLeast,
            mark: 0.6,
            goal: 0.8,
        };
        table.compare(mark, json, grpc);
    }
}

async fn grpc(world: &World, ask: Ask, seconds: u64) -> f64 {
    let (mut tasks, begun) = (JoinSet::new(), Instant::now());
    let end = begun + Duration::from_secs(seconds);
    for channel in world.server.connections(CONNECTIONS).await {
        for _ in 0..IN_FLIGHT / CONNECTIONS {
            let mut client = MessagesServiceClient::new(channel.clone());
            let places = world.places.clone();
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    let (account_id, conversation_id) = places.any();
                    match ask {
                        Ask::Create => {
                            let request = authorized(message(account_id, conversation_id));
                            client.create_message(request).await.expect("the message is good");
                        }
                        Ask::List => {
                            let request = ListMessagesRequest {
                                account_id,
                                conversation_id,
                                ..ListMessagesRequest::default()
                            };
                            client.list_messages(authorized(request)).await.expect("the conversation is there");
                        }
                    }
                    count += 1;
                }
                count
            });
        }
    }
    rate(tasks, begun).await
}

async fn json(world: &World, ask: Ask, seconds: u64) -> f64 {
    let (client, root) = (json_client(), world.server.http());
    let (mut tasks, begun) = (JoinSet::new(), Instant::now());
    let end = begun + Duration::from_secs(seconds);
    for _ in 0..IN_FLIGHT {
        let (client, root, places) = (client.clone(), root.clone(), world.places.clone());
        tasks.spawn(async move {
            let mut count = 0_u32;
            while Instant::now() < end {
                let (account, conversation) = places.any();
                let url = format!("{root}/api/v1/accounts/{account}/conversations/{conversation}/messages");
                let request = match ask {
                    Ask::Create => client.post(url).json(&json!({ "content": CONTENT })),
                    Ask::List => client.get(url),
                };
                let answer = request.send().await.expect("the door answers");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("the body arrives");
                count += 1;
            }
            count
        });
    }
    rate(tasks, begun).await
}

async fn rate(tasks: JoinSet<u32>, begun: Instant) -> f64 {
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}
