//! Two subscribers that follow the log during the siege. The client library checks the chain; here is checked that nothing is missing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use parley_client::{Server, Step, Subscriber};
use parley_proto::{EventFilter, event::Resource, subscribe_request::Start};
use tokio::task::JoinHandle;

use crate::support::app::{ADMINISTRATOR, TestApp};

/// How many there are.
const SUBSCRIBERS: usize = 2;

/// How long what is late may take after the siege.
const LATE: Duration = Duration::from_mins(1);

/// The ids of messages that a subscriber was told of.
type Seen = Arc<Mutex<HashSet<i64>>>;

/// Subscribers at work.
#[derive(Debug)]
pub struct Subscribers {
    tasks: Vec<(Seen, JoinHandle<()>)>,
}

/// Starts them at the head.
pub async fn start(app: &TestApp) -> Subscribers {
    let mut tasks = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let server = Server::connect(&format!("http://{}", app.server.doors.grpc), ADMINISTRATOR).expect("an address");
        let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default());
        // Open before the first call is made.
        subscriber.next().await.expect("the stream opens");
        let seen = Seen::default();
        let task = tokio::spawn(follow(subscriber, Arc::clone(&seen)));
        tasks.push((seen, task));
    }
    Subscribers { tasks }
}

async fn follow(mut subscriber: Subscriber, seen: Seen) {
    loop {
        // A chain that does not hold is an error, and no reason to go on.
        let Step::Response(response) = subscriber.next().await.expect("the chain holds") else {
            continue;
        };
        let mut seen = seen.lock().expect("no panic");
        for event in response.events.into_iter().filter_map(|delivery| delivery.event) {
            if let Some(Resource::Message(told)) = event.resource
                && let Some(message) = told.message
            {
                seen.insert(message.id);
            }
        }
    }
}

impl Subscribers {
    /// Acknowledged messages that a subscriber is not told of, or how it ended.
    pub async fn missing(self, acknowledged: &[i64]) -> Vec<String> {
        let mut missing = Vec::new();
        for (nth, (seen, task)) in self.tasks.into_iter().enumerate() {
            let lacks = || {
                let seen = seen.lock().expect("no panic");
                acknowledged.iter().filter(|id| !seen.contains(id)).count()
            };
            let _ = tokio::time::timeout(LATE, async {
                while lacks() > 0 && !task.is_finished() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
            if lacks() > 0 {
                missing.push(format!("subscriber {nth} lacks {} of {} messages", lacks(), acknowledged.len()));
            }
            if task.is_finished() {
                missing.push(format!("subscriber {nth} ended: {:?}", task.await.err()));
            } else {
                task.abort();
            }
        }
        missing
    }
}
