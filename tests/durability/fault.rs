//! Chooses which fault is injected when. The choices are seeded, so that a run can be repeated.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::server::Server;

/// The schedule of faults of one run.
#[derive(Debug)]
pub struct Faults {
    /// How long traffic runs before each fault.
    pub pauses: Vec<Duration>,
    /// The index of the fault that crashes the database, if the database is a server.
    pub database_crash: usize,
}

impl Faults {
    /// Spreads `count` faults unevenly over about `time`.
    pub fn spread(choices: &mut StdRng, time: Duration, count: usize) -> Self {
        let mean = time.div_f64(f64::from(u32::try_from(count).expect("a few")));
        Self {
            pauses: (0..count).map(|_| mean.mul_f64(choices.random_range(0.2..1.8))).collect(),
            database_crash: choices.random_range(0..count),
        }
    }
}

/// Defines the kinds of faults, each with its name. Most of them affect one of the servers.
macro_rules! faults {
    ($($(#[$text:meta])* $kind:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$text])* $kind,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The name that `PARLEY_DURABILITY_FAULT` uses.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

faults! {
    /// A server is killed (SIGKILL) and restarted.
    Kill = "kill",
    /// A server is suspended (SIGSTOP) for a while.
    Stop = "stop",
    /// A server drains (SIGTERM) and is restarted.
    Restart = "restart",
    /// The database crashes (SIGQUIT to its first process) and recovers.
    DatabaseCrash = "database-crash",
    /// All processes of the database are killed (SIGKILL), and it recovers.
    DatabaseKill = "database-kill",
    /// The database is suspended for a while.
    DatabaseStop = "database-stop",
    /// All connections between clients and a server are cut.
    Cut = "cut",
    /// The network between clients and a server stalls.
    Stall = "stall",
    /// The network between clients and a server becomes slow.
    Slow = "slow",
    /// All connections between a server and the database are cut.
    CutDatabase = "cut-database",
    /// The network between a server and the database stalls, which isolates the server.
    StallDatabase = "stall-database",
    /// The network between a server and the database becomes slow.
    SlowDatabase = "slow-database",
    /// NATS is killed (SIGKILL) and restarted after a while.
    NatsKill = "nats-kill",
    /// NATS is suspended for a while.
    NatsStop = "nats-stop",
    /// All connections between a server and NATS are cut.
    CutNats = "cut-nats",
    /// The network between a server and NATS stalls.
    StallNats = "stall-nats",
    /// The network between a server and NATS becomes slow.
    SlowNats = "slow-nats",
    /// Subscriber processes are killed (SIGKILL).
    SubscriberKill = "subscriber-kill",
    /// Subscriber processes are suspended for a while.
    SubscriberStop = "subscriber-stop",
    /// Events are aged up to the positions of readers, so that they are trimmed while being read.
    Age = "age",
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// The index of the affected server. Faults of the database, NATS and subscribers ignore it.
    pub server: usize,
}

impl Fault {
    /// A sequence of `count` faults in a seeded order. Each kind occurs once before any repeats; if a kind is named, only that kind occurs.
    pub fn sequence(choices: &mut StdRng, servers: usize, count: usize, named: Option<Kind>) -> Vec<Self> {
        let mut faults = Vec::with_capacity(count);
        while faults.len() < count {
            let mut kinds = named.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
            kinds.shuffle(choices);
            faults.extend(kinds.into_iter().map(|kind| Self {
                kind,
                server: choices.random_range(0..servers),
            }));
        }
        faults.truncate(count);
        faults
    }
}

/// The kind that `PARLEY_DURABILITY_FAULT` names, or `None` if it is not set.
pub fn named() -> Option<Kind> {
    let name = std::env::var("PARLEY_DURABILITY_FAULT").ok()?;
    let named = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let known = || Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    Some(named.unwrap_or_else(|| panic!("PARLEY_DURABILITY_FAULT={name}: it is one of {}", known())))
}

/// Suspends a process, or resumes it.
pub fn signal(process: u32, still: bool) {
    let signal = if still { Signal::STOP } else { Signal::CONT };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(process, signal).expect("the process runs");
}

/// Suspends a server for a while.
pub async fn stand_still(server: &Server, time: Duration) {
    signal(server.id(), true);
    tokio::time::sleep(time).await;
    signal(server.id(), false);
}

/// Processes of which any may end at any time. Whoever waits for one removes it from the set first, because its number may be reused
/// afterwards.
#[derive(Clone, Debug, Default)]
pub struct Processes(Arc<Mutex<BTreeSet<u32>>>);

impl Processes {
    fn all(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().expect("nobody panics with it")
    }

    pub fn add(&self, process: u32) {
        self.all().insert(process);
    }

    /// Removes a process. From now on it may be waited for, and its number may be reused.
    pub fn remove(&self, process: u32) {
        self.all().remove(&process);
    }

    /// Sends a signal to all of them.
    pub fn signal(&self, signal: Signal) {
        for process in self.all().iter() {
            let process = i32::try_from(*process)
                .ok()
                .and_then(Pid::from_raw)
                .expect("a process has a number");
            // A process that has ended has not been waited for yet, so its number still belongs to it.
            let _ = kill_process(process, signal);
        }
    }
}
