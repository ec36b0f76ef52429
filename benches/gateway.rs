//! The REST gateway compared with the gRPC API: the same calls to the same service, one API after the other.

use std::time::{Duration, Instant};

use parley_proto::{ListMessagesRequest, messages_service_client::MessagesServiceClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Options,
    harness::Harness,
    support::{
        CONTENT,
        fixture::{Fixture, message},
        server::{authorized, http_client},
        table::{Bound, Table, Target},
    },
};

/// Number of calls in flight on either API.
const IN_FLIGHT: usize = 64;
/// Number of gRPC connections that share them.
const CONNECTIONS: usize = 4;

/// The measured call.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    List,
}

/// One round of both calls on both APIs.
pub async fn round(harness: &mut Harness, options: &Options, table: &mut Table) {
    let fixture = harness.postgres_fixture(options).await;
    for (operation, name) in [
        (Operation::Create, "create a message, REST / gRPC"),
        (Operation::List, "list 20 messages, REST / gRPC"),
    ] {
        let grpc = grpc(fixture, operation, options.seconds).await;
        let rest = rest(fixture, operation, options.seconds).await;
        let target = Target {
            name,
            unit: "calls/s",
            bound: Bound::AtLeast,
            required: 0.6,
            goal: 0.8,
        };
        table.compare(target, rest, grpc);
    }
}

async fn grpc(fixture: &Fixture, operation: Operation, seconds: u64) -> f64 {
    let (mut tasks, started) = (JoinSet::new(), Instant::now());
    let end = started + Duration::from_secs(seconds);
    for channel in fixture.server.connections(CONNECTIONS).await {
        for _ in 0..IN_FLIGHT / CONNECTIONS {
            let mut client = MessagesServiceClient::new(channel.clone());
            let conversations = fixture.conversations.clone();
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    let (account_id, conversation_id) = conversations.any();
                    match operation {
                        Operation::Create => {
                            let request = authorized(message(account_id, conversation_id));
                            client.create_message(request).await.expect("the message is valid");
                        }
                        Operation::List => {
                            let request = ListMessagesRequest {
                                account_id,
                                conversation_id,
                                ..ListMessagesRequest::default()
                            };
                            client.list_messages(authorized(request)).await.expect("the conversation exists");
                        }
                    }
                    count += 1;
                }
                count
            });
        }
    }
    rate(tasks, started).await
}

async fn rest(fixture: &Fixture, operation: Operation, seconds: u64) -> f64 {
    let (client, root) = (http_client(), fixture.server.http());
    let (mut tasks, started) = (JoinSet::new(), Instant::now());
    let end = started + Duration::from_secs(seconds);
    for _ in 0..IN_FLIGHT {
        let (client, root, conversations) = (client.clone(), root.clone(), fixture.conversations.clone());
        tasks.spawn(async move {
            let mut count = 0_u32;
            while Instant::now() < end {
                let (account, conversation) = conversations.any();
                let url = format!("{root}/api/v1/accounts/{account}/conversations/{conversation}/messages");
                let request = match operation {
                    Operation::Create => client.post(url).json(&json!({ "content": CONTENT })),
                    Operation::List => client.get(url),
                };
                let response = request.send().await.expect("the REST gateway responds");
                assert_eq!(response.status(), 200);
                response.bytes().await.expect("the body arrives");
                count += 1;
            }
            count
        });
    }
    rate(tasks, started).await
}

async fn rate(tasks: JoinSet<u32>, started: Instant) -> f64 {
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / started.elapsed().as_secs_f64()
}
