//! Writers that repeat what was not answered, and subscribers that resume by cursor, while servers come and go.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parley::pb::{EventFilter, EventKind, SendMessagesRequest, SendResult, SubscribeRequest, subscribe_request::Start};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    support::{
        app::ADMINISTRATOR,
        clients::Clients,
        reader::{event, everything, log_info},
        scene::{Scene, incoming},
    },
    validate::{Acknowledged, Evidence, Problem, Reading, Seen},
};

/// How long an answer may take before the call is repeated.
const GIVE_UP: Duration = Duration::from_secs(20);
/// How long a stream that sends a bookmark every second may be silent before it is opened again.
const SILENCE: Duration = Duration::from_secs(5);
/// How long everything may take to come to rest after the last fault.
const REST: Duration = Duration::from_secs(90);
/// How long a subscriber without protection is waited for: it may never arrive.
const UNPROTECTED_REST: Duration = Duration::from_secs(8);

/// How much is going on at once.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Conversations that are spoken in.
    pub conversations: usize,
    /// Writers that send one message and wait for the answer.
    pub callers: usize,
    /// Writers with a stream.
    pub streams: usize,
    /// Messages of a stream that wait for an answer.
    pub window: usize,
}

impl Load {
    /// As much as keeps two processors busy.
    pub fn full() -> Self {
        Self {
            conversations: 5,
            callers: 12,
            streams: 2,
            window: 64,
        }
    }
}

/// Running writers and subscribers.
#[derive(Debug)]
pub struct Traffic {
    servers: Vec<watch::Sender<String>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Writing>>,
    readers: Vec<JoinHandle<Reading>>,
    /// Where the log ends, once nobody writes any more, and until when subscribers may read on.
    end: watch::Sender<End>,
}

type End = Option<(u64, Instant)>;

/// What one writer did, in its order.
type Writing = (Vec<Acknowledged>, Vec<Problem>);

impl Traffic {
    /// Starts writers and subscribers, spread over these servers.
    pub async fn start(addresses: Vec<String>, load: Load) -> Self {
        let scene = Scene::new(Clients::new(&addresses[0], Some(ADMINISTRATOR)), 1, 1);
        let mut conversations = Vec::new();
        for _ in 0..load.conversations {
            conversations.push(scene.talk().await);
        }
        let conversations = Arc::new(conversations);
        let servers: Vec<watch::Sender<String>> = addresses.into_iter().map(|address| watch::channel(address).0).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let end = watch::channel(None).0;
        let server = |index: usize| servers[index % servers.len()].subscribe();
        let mut writers = Vec::new();
        for index in 0..load.callers + load.streams {
            let writer = Writer {
                index,
                server: server(index),
                stop: Arc::clone(&stop),
                conversations: Arc::clone(&conversations),
            };
            writers.push(if index < load.callers {
                tokio::spawn(writer.call())
            } else {
                tokio::spawn(writer.stream(load.window))
            });
        }
        let mut readers = Vec::new();
        for (index, filtered) in [false, true, false, true].into_iter().enumerate() {
            readers.push(tokio::spawn(read(server(index), filtered, end.subscribe())));
        }
        Self {
            servers,
            stop,
            writers,
            readers,
            end,
        }
    }

    /// Tells everybody that a server has another address now.
    pub fn moved(&self, server: usize, address: &str) {
        self.servers[server].send_replace(address.to_owned());
    }

    /// Lets the writers finish what they began and the subscribers read to the end, and hands over what all of them saw.
    pub async fn finish(self, protected: bool) -> Evidence {
        self.stop.store(true, Ordering::Relaxed);
        let mut evidence = Evidence::default();
        for writer in self.writers {
            let (acknowledged, problems) = resting(REST, "a writer", writer).await;
            evidence.writers.push(acknowledged);
            evidence.refused.extend(problems);
        }
        let clients = Clients::new(&self.servers[0].borrow(), Some(ADMINISTRATOR));
        let head = log_info(&clients, 1).await.head_seq;
        let patience = if protected { REST } else { UNPROTECTED_REST };
        self.end.send_replace(Some((head, Instant::now() + patience)));
        for reader in self.readers {
            evidence.readers.push(reader.await.expect("no panic"));
        }
        evidence.head = head;
        self.end.send_replace(Some((head, Instant::now() + patience)));
        evidence.log = read(self.servers[0].subscribe(), false, self.end.subscribe()).await;
        evidence.read_rows(&clients).await;
        evidence
    }
}

async fn resting<T>(patience: Duration, what: &str, task: JoinHandle<T>) -> T {
    let output = tokio::time::timeout(patience, task).await;
    let output = output.unwrap_or_else(|_| panic!("{what} has not come to rest after {patience:?}"));
    output.expect("no panic")
}

/// Whether a call must be repeated: nobody knows what became of it, or it was told to come again.
fn repeat(status: &Status) -> bool {
    let broken = status.code() == Code::Unknown || status.code() == Code::Internal && status.details().is_empty();
    let again = matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
    );
    broken || again
}

/// A message of a stream that was not answered yet.
struct Open {
    text: String,
    request: SendMessagesRequest,
    repeated: bool,
}

struct Writer {
    index: usize,
    server: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
    conversations: Arc<Vec<i64>>,
}

impl Writer {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn connect(&mut self) -> Scene {
        let address = self.server.borrow_and_update().clone();
        Scene::new(Clients::new(&address, Some(ADMINISTRATOR)), 1, 1)
    }

    /// The nth message: its text says who wrote it, so that each is unlike all others.
    fn compose(&self, scene: &Scene, number: usize) -> (String, parley::pb::CreateMessageRequest) {
        let text = format!("writer {} message {number}", self.index);
        let conversation = self.conversations[(self.index + number) % self.conversations.len()];
        let request = scene.request(conversation, incoming(&text));
        (text, request)
    }

    async fn call(mut self) -> Writing {
        let (mut acknowledged, mut problems) = (Vec::new(), Vec::new());
        let mut scene = self.connect();
        for number in 0.. {
            if self.stopped() {
                break;
            }
            let (text, request) = self.compose(&scene, number);
            loop {
                let call = scene.clients.messages.create_message(request.clone());
                let result = tokio::time::timeout(GIVE_UP, call).await;
                match result {
                    Ok(Ok(answer)) => {
                        let answer = answer.into_inner();
                        let message = answer.message.expect("always set");
                        acknowledged.push(Acknowledged {
                            text,
                            conversation: message.conversation_id,
                            message: message.id,
                            number: message.number,
                            in_order: true,
                        });
                        break;
                    }
                    Ok(Err(status)) if !repeat(&status) => {
                        problems.push(Problem::Refused(format!("{text}: {status:?}")));
                        break;
                    }
                    Ok(Err(_)) | Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        scene = self.connect();
                    }
                }
            }
        }
        (acknowledged, problems)
    }

    async fn stream(mut self, window: usize) -> Writing {
        let (mut acknowledged, mut problems) = (Vec::new(), Vec::new());
        let mut open: VecDeque<Open> = VecDeque::new();
        let mut number = 0;
        while !self.stopped() || !open.is_empty() {
            let mut scene = self.connect();
            let (sender, receiver) = mpsc::channel(window);
            // Whatever was not answered goes first, in its order and under its own request_id.
            for unanswered in &mut open {
                unanswered.repeated = true;
                sender.send(unanswered.request.clone()).await.expect("there is room for a window");
            }
            let call = scene.clients.messages.send_messages(ReceiverStream::new(receiver));
            let Ok(Ok(answers)) = tokio::time::timeout(GIVE_UP, call).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut answers = answers.into_inner();
            let mut sender = Some(sender);
            loop {
                while open.len() < window && !self.stopped() {
                    let (text, request) = self.compose(&scene, number);
                    number += 1;
                    let request = SendMessagesRequest {
                        account_id: request.account_id,
                        request_id: request.request_id,
                        conversation_id: request.conversation_id,
                        message: request.message,
                    };
                    open.push_back(Open {
                        text,
                        request: request.clone(),
                        repeated: false,
                    });
                    match &sender {
                        // A receiver that is gone shows as a broken answer below.
                        Some(sender) => drop(sender.try_send(request)),
                        None => break,
                    }
                }
                if self.stopped() && open.is_empty() {
                    sender = None;
                }
                let Ok(Ok(Some(answer))) = tokio::time::timeout(GIVE_UP, answers.message()).await else {
                    break;
                };
                if !settle(answer.results, &mut open, &mut acknowledged, &mut problems) {
                    break;
                }
            }
        }
        (acknowledged, problems)
    }
}

/// Takes answers off the front of what is open. False: one must be repeated, and all after it, to keep the order.
fn settle(results: Vec<SendResult>, open: &mut VecDeque<Open>, acknowledged: &mut Vec<Acknowledged>, problems: &mut Vec<Problem>) -> bool {
    for result in results {
        let Some(Open { text, request, repeated }) = open.front() else {
            problems.push(Problem::Refused(format!("an answer to nothing: {result:?}")));
            return false;
        };
        match result.error {
            None => acknowledged.push(Acknowledged {
                text: text.clone(),
                conversation: request.conversation_id,
                message: result.message_id,
                number: result.number,
                in_order: !repeated,
            }),
            Some(error) => {
                let status = Status::with_details(Code::from(error.code), error.message, Bytes::from_static(b"as told"));
                if repeat(&status) {
                    return false;
                }
                problems.push(Problem::Refused(format!("{text}: {status:?}")));
            }
        }
        open.pop_front();
    }
    true
}

/// Reads an account's log from its start, over as many streams as it takes, until `end` is known and reached.
async fn read(mut server: watch::Receiver<String>, filtered: bool, mut end: watch::Receiver<End>) -> Reading {
    let mut reading = Reading {
        filtered,
        ..Reading::default()
    };
    let mut cursor: Option<Bytes> = None;
    loop {
        let clients = Clients::new(&server.borrow_and_update().clone(), Some(ADMINISTRATOR));
        let start = cursor.clone().map_or(Start::Earliest(()), Start::After);
        let request = SubscribeRequest {
            heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            filter: filtered.then(|| EventFilter {
                kinds: vec![EventKind::MessageCreated.into()],
                ..EventFilter::default()
            }),
            ..everything(1, start)
        };
        reading.streams += 1;
        let mut events = clients.events.clone();
        let Ok(Ok(stream)) = tokio::time::timeout(GIVE_UP, events.subscribe(request)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        loop {
            let due = *end.borrow();
            if due.is_some_and(|(head, until)| reading.position >= head || Instant::now() >= until) {
                reading.stuck = due.is_some_and(|(head, _)| reading.position < head);
                return reading;
            }
            let taken = tokio::select! {
                taken = tokio::time::timeout(SILENCE, stream.message()) => taken,
                changed = end.changed() => {
                    changed.expect("the traffic outlives its readers");
                    continue;
                }
            };
            let Ok(Ok(Some(response))) = taken else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                break;
            };
            for delivery in &response.events {
                reading.take(Seen::of(delivery.prev_seq, event(delivery)));
                cursor = Some(delivery.cursor.clone());
            }
            if let Some(bookmark) = response.bookmark {
                reading.position = reading.position.max(bookmark.seq);
                cursor = Some(bookmark.cursor);
            }
        }
    }
}
