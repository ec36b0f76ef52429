//! The traffic of a run: writers over both APIs that retry calls without a reply, and readers of every kind that resume, while servers are
//! killed and restarted.

mod asking;
mod cable;
mod careful;
mod json;
mod json_desk;
mod program;
mod reader;
mod server_sent;
mod verbs;
mod visitor;
mod web;
mod writer;

pub use asking::cursor;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parley_proto::{EventFilter, EventKind};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    archive::{self, Archivist},
    fault::Processes,
    history::{Acknowledged, Begin, History, ReaderApi, Section},
    support::{
        api_fixture::ApiFixture,
        app::{ADMINISTRATOR, PLATFORM},
        clients::Clients,
        server::ListenerAddresses,
    },
};

/// How long a response may take before the call is retried.
const GIVE_UP: Duration = Duration::from_secs(20);
/// The delay before a retry.
const AGAIN: Duration = Duration::from_millis(50);
/// How long writers and readers may take to finish after the last fault.
pub const REST: Duration = Duration::from_secs(90);
/// How long to wait for readers when a protection is turned off: they may never finish.
pub const UNPROTECTED_REST: Duration = Duration::from_secs(8);

/// The amount of traffic.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Conversations of the busy account that messages are sent to.
    pub conversations: usize,
    /// Writers of the busy account that send one message at a time and wait for the response.
    pub callers: usize,
    /// Writers of the busy account that use a stream.
    pub streams: usize,
    /// The number of unacknowledged messages on a stream.
    pub window: usize,
    /// Writers per account that use the JSON API.
    pub json: usize,
    /// The number of accounts with little traffic, in addition to the busy one.
    pub quiet: usize,
    /// Readers per account that come and go, each time with a different filter, starting point and speed.
    pub visitors: usize,
}

impl Load {
    /// Enough traffic to keep two processors busy.
    pub fn full() -> Self {
        Self {
            conversations: 5,
            callers: 8,
            streams: 2,
            window: 64,
            json: 2,
            quiet: 2,
            visitors: 2,
        }
    }
}

/// The heads of the logs, set once all writers have stopped, and the deadline for readers to reach them.
type End = Option<(BTreeMap<i64, u64>, Instant)>;

/// What one writer was acknowledged, in order.
type Writing = Vec<Acknowledged>;

/// The history to which all tasks of the traffic add.
pub type Records = Arc<Mutex<History>>;

/// What each task of the traffic knows.
#[derive(Clone, Debug)]
struct Post {
    /// The name of the task, for reports.
    name: String,
    account: i64,
    inbox: i64,
    conversations: Arc<Vec<i64>>,
    servers: Vec<watch::Receiver<ListenerAddresses>>,
    /// The index of the server that it uses.
    own: usize,
    stop: Arc<AtomicBool>,
    end: watch::Receiver<End>,
    records: Records,
    subscribers: Processes,
    seed: u64,
}

impl Post {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn listeners(&self) -> ListenerAddresses {
        self.servers[self.own].borrow().clone()
    }

    fn clients(&self) -> Clients {
        Clients::new(&self.listeners().grpc, Some(ADMINISTRATOR))
    }

    /// Clients of another server, if there is one.
    fn clients_elsewhere(&self) -> Clients {
        let other = self.servers[(self.own + 1) % self.servers.len()].borrow().clone();
        Clients::new(&other.grpc, Some(ADMINISTRATOR))
    }

    fn fixture(&self) -> ApiFixture {
        ApiFixture::new(self.clients(), self.account, self.inbox)
    }

    fn note(&self, what: impl FnOnce(&mut History)) {
        what(&mut self.records.lock().expect("nobody panics with it"));
    }

    /// The head of its account's log and the deadline for reading up to it, once all writers have stopped.
    fn due(&self) -> Option<(u64, Instant)> {
        let end = self.end.borrow();
        let (heads, until) = end.as_ref()?;
        Some((heads.get(&self.account).copied().unwrap_or_default(), *until))
    }

    fn choices(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

/// The running writers and readers.
#[derive(Debug)]
pub struct Traffic {
    servers: Vec<watch::Sender<ListenerAddresses>>,
    accounts: Vec<i64>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Writing>>,
    desks: Vec<JoinHandle<Writing>>,
    json_desks: Vec<JoinHandle<Writing>>,
    readers: Vec<JoinHandle<()>>,
    end: watch::Sender<End>,
    records: Records,
    archivist: Archivist,
    posts: Vec<Post>,
    /// Subscribers that run in separate processes.
    pub subscribers: Processes,
}

impl Traffic {
    /// Starts writers and readers, spread over these servers. `database` is the address from which the log is copied, so no fault may
    /// affect it.
    pub async fn start(servers: Vec<ListenerAddresses>, database: String, load: Load, choices: &mut StdRng) -> Self {
        let archivist = Archivist::start(database.clone());
        let mut scenes = vec![ApiFixture::new(Clients::new(&servers[0].grpc, Some(ADMINISTRATOR)), 1, 1)];
        for _ in 0..load.quiet {
            scenes.push(quiet_account(&servers[0]).await);
        }
        let records = Records::default();
        let secrets = archive::secrets(&database).await;
        records.lock().expect("nobody panics with it").secrets = secrets;
        let servers: Vec<watch::Sender<ListenerAddresses>> = servers.into_iter().map(|listeners| watch::channel(listeners).0).collect();
        let mut traffic = Self {
            servers,
            accounts: scenes.iter().map(|fixture| fixture.account).collect(),
            stop: Arc::default(),
            writers: Vec::new(),
            desks: Vec::new(),
            json_desks: Vec::new(),
            readers: Vec::new(),
            end: watch::channel(None).0,
            records,
            archivist,
            posts: Vec::new(),
            subscribers: Processes::default(),
        };
        for fixture in &scenes {
            let count = if fixture.account == 1 { load.conversations } else { 2 };
            let mut conversations = Vec::new();
            for _ in 0..count {
                conversations.push(fixture.talk().await);
            }
            traffic.populate(fixture, &Arc::new(conversations), load, choices);
        }
        traffic
    }

    fn populate(&mut self, fixture: &ApiFixture, conversations: &Arc<Vec<i64>>, load: Load, choices: &mut StdRng) {
        let mut next = 0;
        let mut post = |name: &str| {
            next += 1;
            Post {
                name: name.to_owned(),
                account: fixture.account,
                inbox: fixture.inbox,
                conversations: Arc::clone(conversations),
                servers: self.servers.iter().map(watch::Sender::subscribe).collect(),
                own: next % self.servers.len(),
                stop: Arc::clone(&self.stop),
                end: self.end.subscribe(),
                records: Arc::clone(&self.records),
                subscribers: self.subscribers.clone(),
                seed: choices.random(),
            }
        };
        let busy = fixture.account == 1;
        for index in 0..if busy { load.callers } else { 1 } {
            self.writers.push(tokio::spawn(writer::call(post(&format!("writer {index}")))));
        }
        for index in 0..if busy { load.streams } else { 0 } {
            self.writers.push(tokio::spawn(writer::stream(
                post(&format!("writer by stream {index}")),
                load.window,
            )));
        }
        for index in 0..load.json {
            self.writers
                .push(tokio::spawn(json::write(post(&format!("writer by JSON {index}")))));
        }
        let mut desk = post("writer of all verbs by JSON");
        desk.own = (self.desks.len() + 1) % self.servers.len();
        self.json_desks.push(tokio::spawn(json_desk::work(desk)));
        let mut desk = post("writer of all verbs");
        // Spread over the servers.
        desk.own = self.desks.len() % self.servers.len();
        self.desks.push(tokio::spawn(verbs::work(desk)));
        let messages = EventFilter {
            kinds: vec![EventKind::MessageCreated.into()],
            ..EventFilter::default()
        };
        for (name, filter) in [
            ("a reader of everything", EventFilter::default()),
            ("a reader of messages", messages),
        ] {
            self.readers.push(tokio::spawn(reader::to_the_end(post(name), filter)));
        }
        self.readers.push(tokio::spawn(cable::listen(post("a front end"))));
        for index in 0..load.visitors {
            self.readers
                .push(tokio::spawn(visitor::come_and_go(post(&format!("visitor {index}")))));
        }
        if busy {
            self.readers.push(tokio::spawn(careful::take(post("a careful consumer"))));
        } else {
            self.readers
                .push(tokio::spawn(server_sent::read(post("a reader by Server-Sent Events"))));
            self.readers.push(tokio::spawn(program::follow(post("parley tail"))));
            self.readers.push(tokio::spawn(web::read(post("a reader by gRPC-Web"))));
        }
        self.posts.push(post("a reader afterwards"));
    }

    /// Announces the new addresses of a server to all tasks.
    pub fn moved(&self, server: usize, listeners: &ListenerAddresses) {
        self.servers[server].send_replace(listeners.clone());
    }

    /// The sequence number up to which the busy account's log has been copied. Older events may be trimmed.
    pub fn copied(&self) -> u64 {
        self.archivist.reached.borrow().get(&1).copied().unwrap_or_default()
    }

    /// Waits until the writers have completed their last calls and the readers have reached the head. Returns the recorded history.
    pub async fn finish(self, protected: bool) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let mut writers = Vec::new();
        for writer in self.writers {
            writers.push(resting(REST, "a writer", writer).await);
        }
        let mut idle = writers.iter().filter(|told| told.is_empty()).count();
        for desk in self.desks.into_iter().chain(self.json_desks) {
            writers.push(resting(REST, "a writer of all verbs", desk).await);
        }
        let mut heads = BTreeMap::new();
        for post in &self.posts {
            let info = asking::log_info(post, post.account).await;
            heads.insert(post.account, info.head_seq);
        }
        let patience = if protected { REST } else { UNPROTECTED_REST };
        self.end.send_replace(Some((heads.clone(), Instant::now() + patience)));
        for reader in self.readers {
            resting(2 * patience, "a reader", reader).await;
        }
        self.end.send_replace(Some((heads, Instant::now() + patience)));
        for post in &self.posts {
            let mut late = Section::new(&post.name, post.account, ReaderApi::Grpc, EventFilter::default(), Begin::Earliest);
            late.late = true;
            reader::keep(post, late).await;
        }
        let mut history = std::mem::take(&mut *self.records.lock().expect("nobody panics with it"));
        history.refusals = asking::impossible(&self.posts[0], &self.accounts).await;
        history.writers.extend(writers);
        // These create contacts and conversations before their first message, so they may have acknowledged no message in a short run.
        let done: BTreeSet<i64> = history.done.iter().map(|done| done.account).collect();
        idle += self.accounts.iter().filter(|account| !done.contains(account)).count();
        history.idle = idle;
        history.archives = self.archivist.finish(&history.erased).await;
        history.place_cursors();
        history
    }
}

/// Creates another account with an inbox. The administrator of the first account is a member.
async fn quiet_account(listeners: &ListenerAddresses) -> ApiFixture {
    use parley_proto::{CreateAccountRequest, CreateMembershipRequest, Role};
    let mut platform = Clients::new(&listeners.grpc, Some(PLATFORM)).accounts;
    let request = CreateAccountRequest {
        name: "Quiet".to_owned(),
        ..CreateAccountRequest::default()
    };
    let made = platform.create_account(request).await.expect("the account is made").into_inner();
    let account = made.account.expect("always set").id;
    let request = CreateMembershipRequest {
        account_id: account,
        user_id: 1,
        role: Role::Administrator.into(),
        ..CreateMembershipRequest::default()
    };
    platform.create_membership(request).await.expect("the user becomes a member");
    let clients = Clients::new(&listeners.grpc, Some(ADMINISTRATOR));
    let inbox = crate::support::office::inbox(&clients, account, "Quiet").await;
    ApiFixture::new(clients, account, inbox)
}

async fn resting<T>(patience: Duration, what: &str, task: JoinHandle<T>) -> T {
    let output = tokio::time::timeout(patience, task).await;
    let output = output.unwrap_or_else(|_| panic!("{what} has not come to rest after {patience:?}"));
    output.expect("no panic")
}
