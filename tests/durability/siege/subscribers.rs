//! Two subscribers that follow the log during the siege. The client library checks the chain; this module checks that no acknowledged
//! message is missing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use parley_client::{Server, Step, Subscriber};
use parley_proto::{EventFilter, event::Resource, subscribe_request::Start};
use tokio::task::JoinHandle;

use crate::support::app::{ADMINISTRATOR, TestApp};

/// The number of subscribers.
const SUBSCRIBERS: usize = 2;

/// How long delayed events may take after the siege.
const LATE: Duration = Duration::from_mins(1);

/// The ids of messages that a subscriber received.
type Seen = Arc<Mutex<HashSet<i64>>>;

/// Running subscribers.
#[derive(Debug)]
pub struct Subscribers {
    tasks: Vec<(Seen, JoinHandle<()>)>,
}

/// Starts them at the beginning of the log.
pub async fn start(app: &TestApp) -> Subscribers {
    let mut tasks = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let server = Server::connect(&format!("http://{}", app.server.listeners.grpc), ADMINISTRATOR).expect("an address");
        let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default());
        // The stream must be open before the first call is made.
        subscriber.next().await.expect("the stream opens");
        let seen = Seen::default();
        let task = tokio::spawn(follow(subscriber, Arc::clone(&seen)));
        tasks.push((seen, task));
    }
    Subscribers { tasks }
}

async fn follow(mut subscriber: Subscriber, seen: Seen) {
    loop {
        // A broken chain is an error, after which the subscriber must not continue.
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
    /// Acknowledged messages that a subscriber did not receive, or the error with which it ended.
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
