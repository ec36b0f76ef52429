//! Durable consumers under faults: two workers per shard, one active and one standby, which die now and then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parley_client::{Consumer, Error, OnTakeover, Options, Server, Step};
use parley_proto::{ConsumeOpen, consume_open::Start};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    archive::fingerprint,
    history::{History, Problem, Session, Work as Did},
    support::{app::ADMINISTRATOR, reader::event},
};

/// The number of shards.
const SHARDS: u32 = 2;

/// What all workers did.
#[derive(Debug, Default)]
pub struct Work {
    /// How often each event was processed, by sequence number.
    done: BTreeMap<u64, usize>,
    /// The last processed sequence number of each shard.
    reached: BTreeMap<u32, u64>,
    sessions: Vec<Session>,
    problems: Vec<Problem>,
    /// The number of lost sessions, and the number of workers that died.
    breaks: usize,
    deaths: usize,
}

impl Work {
    /// The record of the consumer's current session. Credit is not recorded, because the client library manages it.
    fn session(&mut self, shard: u32, consumer: &Consumer) -> &mut Session {
        let fence = consumer.fence().unwrap_or_default();
        let known = self
            .sessions
            .iter()
            .rposition(|session| (session.shard, session.fence) == (shard, fence));
        let index = known.unwrap_or_else(|| {
            self.sessions.push(Session {
                consumer: "workers",
                shard,
                fence,
                steps: vec![Did::Granted(u64::MAX)],
            });
            self.sessions.len() - 1
        });
        &mut self.sessions[index]
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    work: Arc<Mutex<Work>>,
    end: watch::Sender<Option<u64>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts two workers per shard, spread over these servers.
    pub fn start(addresses: &[String], choices: &mut StdRng) -> Self {
        let work = Arc::new(Mutex::new(Work::default()));
        let end = watch::Sender::new(None);
        let mut tasks = Vec::new();
        for index in 0..2 * SHARDS {
            let worker = Worker {
                shard: index % SHARDS,
                servers: addresses.to_vec(),
                choices: StdRng::seed_from_u64(choices.random()),
                work: Arc::clone(&work),
                end: end.subscribe(),
            };
            tasks.push(tokio::spawn(worker.run()));
        }
        Self { work, end, tasks }
    }

    /// Waits until every shard has reached the head, and adds what the workers did to the history.
    pub async fn finish(self, history: &mut History, patience: Duration) -> String {
        let head = history.archives.get(&1).map_or(0, |archive| archive.head);
        self.end.send_replace(Some(head));
        let until = Instant::now() + patience;
        let whole = |work: &Work| (0..SHARDS).all(|shard| work.reached.get(&shard).is_some_and(|at| *at >= head));
        while Instant::now() < until && !whole(&self.work.lock().expect("nobody panics")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for task in self.tasks {
            task.abort();
        }
        let work = std::mem::take(&mut *self.work.lock().expect("nobody panics"));
        history.found.extend(work.problems);
        history.sessions.extend(work.sessions);
        history.worked = true;
        let repeated = work.done.values().map(|times| times - 1).sum::<usize>();
        format!(
            "{SHARDS} shards: {} events worked on, {repeated} of them again after {} breaks and {} deaths",
            work.done.len(),
            work.breaks,
            work.deaths
        )
    }
}

struct Worker {
    shard: u32,
    servers: Vec<String>,
    choices: StdRng,
    work: Arc<Mutex<Work>>,
    end: watch::Receiver<Option<u64>>,
}

impl Worker {
    async fn run(mut self) {
        static TURN: AtomicU64 = AtomicU64::new(0);
        loop {
            let turn = usize::try_from(TURN.fetch_add(1, Ordering::Relaxed)).expect("a few");
            let server = format!("http://{}", self.servers[turn % self.servers.len()]);
            let server = Server::connect(&server, ADMINISTRATOR).expect("an address");
            // The worker dies after this many events, whatever it is doing.
            let life = self.choices.random_range(200..3000);
            self.live(server, life).await;
            let mut work = self.work.lock().expect("nobody panics");
            work.deaths += 1;
        }
    }

    async fn live(&mut self, server: Server, life: usize) {
        let open = ConsumeOpen {
            account_id: 1,
            consumer: "workers".to_owned(),
            start: Some(Start::Earliest(())),
            shard: self.shard,
            shard_count: SHARDS,
            ..ConsumeOpen::default()
        };
        let options = Options {
            window: 200,
            on_takeover: OnTakeover::Standby,
            heartbeat: Duration::from_secs(1),
        };
        let mut consumer = Consumer::new(server, open, options);
        let mut given = 0;
        loop {
            match consumer.next().await {
                Ok(Step::Response(response)) => {
                    let mut cursor = response.bookmark.as_ref().map(|bookmark| bookmark.cursor.clone());
                    let mut last = 0;
                    for delivery in &response.events {
                        let event = event(delivery);
                        last = event.seq;
                        let did = Did::Given(event.seq, event.event_id.clone(), fingerprint(event));
                        let mut work = self.work.lock().expect("nobody panics");
                        work.session(self.shard, &consumer).steps.push(did);
                        *work.done.entry(event.seq).or_default() += 1;
                        given += 1;
                    }
                    cursor = cursor.or_else(|| response.events.last().map(|delivery| delivery.cursor.clone()));
                    let at = response.bookmark.as_ref().map_or(last, |bookmark| bookmark.seq.max(last));
                    if given > life && self.end.borrow().is_none() {
                        return;
                    }
                    if let Some(cursor) = cursor {
                        match consumer.commit(cursor).await {
                            Ok(Some(stored)) => {
                                let mut work = self.work.lock().expect("nobody panics");
                                work.session(self.shard, &consumer).steps.push(Did::Committed(stored));
                                let reached = work.reached.entry(self.shard).or_default();
                                *reached = at.max(*reached);
                            }
                            // The session broke or was taken over; the next step says which.
                            Ok(None) | Err(Error::TakenOver) => {}
                            Err(error) => self.complain(&error),
                        }
                    }
                }
                Ok(Step::Resuming { .. }) => {
                    self.work.lock().expect("nobody panics").breaks += 1;
                }
                Err(error) => {
                    self.complain(&error);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return;
                }
            }
        }
    }

    fn complain(&self, error: &Error) {
        let problem = Problem {
            statement: 13,
            text: format!("a worker of shard {}: {error}", self.shard),
        };
        self.work.lock().expect("nobody panics").problems.push(problem);
    }
}
