//! When something is broken, and what: seeded, so that a run can be repeated.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::server::Server;

/// The faults of one run.
#[derive(Debug)]
pub struct Faults {
    /// How long traffic runs before each fault.
    pub pauses: Vec<Duration>,
    /// Which of the faults is the database's, where it is a server.
    pub database_crash: usize,
}

impl Faults {
    /// This many faults, spread unevenly over about this time.
    pub fn spread(choices: &mut StdRng, time: Duration, count: usize) -> Self {
        let mean = time.div_f64(f64::from(u32::try_from(count).expect("a few")));
        Self {
            pauses: (0..count).map(|_| mean.mul_f64(choices.random_range(0.2..1.8))).collect(),
            database_crash: choices.random_range(0..count),
        }
    }
}

/// What can break, each kind by its name. Most of them break one of the servers.
macro_rules! faults {
    ($($(#[$text:meta])* $kind:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$text])* $kind,)+
        }

        impl Kind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// What `PARLEY_DURABILITY_FAULT` calls it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

faults! {
    /// A server dies (SIGKILL) and is started again.
    Kill = "kill",
    /// A server stands still (SIGSTOP) for a while.
    Stop = "stop",
    /// A server drains (SIGTERM) and is started again.
    Restart = "restart",
    /// The database crashes (SIGQUIT to its first process) and recovers.
    DatabaseCrash = "database-crash",
    /// All processes of the database die (SIGKILL), and it recovers.
    DatabaseKill = "database-kill",
    /// The database stands still for a while.
    DatabaseStop = "database-stop",
    /// All connections of clients to a server are cut.
    Cut = "cut",
    /// The line between clients and a server stands still.
    Stall = "stall",
    /// The line between clients and a server becomes slow.
    Slow = "slow",
    /// All connections of a server to the database are cut.
    CutDatabase = "cut-database",
    /// The line between a server and the database stands still: the server is alone.
    StallDatabase = "stall-database",
    /// The line between a server and the database becomes slow.
    SlowDatabase = "slow-database",
    /// NATS dies (SIGKILL) and comes back after a while.
    NatsKill = "nats-kill",
    /// NATS stands still for a while.
    NatsStop = "nats-stop",
    /// All connections of a server to NATS are cut.
    CutNats = "cut-nats",
    /// The line between a server and NATS stands still.
    StallNats = "stall-nats",
    /// The line between a server and NATS becomes slow.
    SlowNats = "slow-nats",
    /// Subscribers that are processes die (SIGKILL).
    SubscriberKill = "subscriber-kill",
    /// Subscribers that are processes stand still for a while.
    SubscriberStop = "subscriber-stop",
    /// What was written becomes old, up to where readers are: it is trimmed under them.
    Age = "age",
}

/// One thing that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Of which of the servers, where it is one of theirs.
    pub server: usize,
}

impl Fault {
    /// So many faults: each kind once before any comes again, in an order that the seed says. Where one is named, that one alone.
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

/// The kind that `PARLEY_DURABILITY_FAULT` names.
pub fn named() -> Option<Kind> {
    let name = std::env::var("PARLEY_DURABILITY_FAULT").ok()?;
    let named = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let known = || Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    Some(named.unwrap_or_else(|| panic!("PARLEY_DURABILITY_FAULT={name}: it is one of {}", known())))
}

/// Lets a process stand still, or go on.
pub fn signal(process: u32, still: bool) {
    let signal = if still { Signal::STOP } else { Signal::CONT };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(process, signal).expect("the process runs");
}

/// Lets a server stand still for a while.
pub async fn stand_still(server: &Server, time: Duration) {
    signal(server.id(), true);
    tokio::time::sleep(time).await;
    signal(server.id(), false);
}

/// Processes of which one may end at any time: whoever ends one takes it out first.
#[derive(Clone, Debug, Default)]
pub struct Processes(Arc<Mutex<BTreeSet<u32>>>);

impl Processes {
    fn all(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().expect("nobody panics with it")
    }

    /// One more runs.
    pub fn add(&self, process: u32) {
        self.all().insert(process);
    }

    /// From now on it may be waited for, and its number may become another's.
    pub fn remove(&self, process: u32) {
        self.all().remove(&process);
    }

    /// Sends all of them a signal.
    pub fn signal(&self, signal: Signal) {
        for process in self.all().iter() {
            let process = i32::try_from(*process)
                .ok()
                .and_then(Pid::from_raw)
                .expect("a process has a number");
            // One that has ended meanwhile was not waited for yet.
            let _ = kill_process(process, signal);
        }
    }
}
