//! When something is broken, and what: seeded, so that a run can be repeated.

use std::time::Duration;

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

/// One thing that breaks. A number says which of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A server dies (SIGKILL) and is started again.
    Kill(usize),
    /// A server stands still (SIGSTOP) for a while.
    Stop(usize),
    /// A server drains (SIGTERM) and is started again.
    Restart(usize),
    /// The database crashes and recovers.
    DatabaseCrash,
    /// The database stands still for a while.
    DatabaseStop,
    /// All connections of clients to a server are cut.
    Cut(usize),
    /// The line between clients and a server stands still.
    Stall(usize),
    /// The line between clients and a server becomes slow.
    Slow(usize),
    /// The line between a server and the database stands still: the server is alone.
    Partition(usize),
    /// NATS dies (SIGKILL) and comes back after a while.
    NatsKill,
    /// All connections of a server to the database are cut.
    CutDatabase(usize),
    /// What was written becomes old, up to where readers are: it is trimmed under them.
    Age,
}

/// How many kinds there are.
const KINDS: usize = 12;

impl Fault {
    fn of(kind: usize, server: usize) -> Self {
        match kind {
            0 => Self::Kill(server),
            1 => Self::Stop(server),
            2 => Self::Restart(server),
            3 => Self::DatabaseCrash,
            4 => Self::DatabaseStop,
            5 => Self::Cut(server),
            6 => Self::Stall(server),
            7 => Self::Slow(server),
            8 => Self::Partition(server),
            9 => Self::NatsKill,
            10 => Self::CutDatabase(server),
            _ => Self::Age,
        }
    }

    /// So many faults: each kind once before any comes again, in an order that the seed says.
    pub fn sequence(choices: &mut StdRng, servers: usize, count: usize) -> Vec<Self> {
        let mut faults = Vec::with_capacity(count);
        while faults.len() < count {
            let mut kinds: Vec<usize> = (0..KINDS).collect();
            kinds.shuffle(choices);
            faults.extend(kinds.into_iter().map(|kind| Self::of(kind, choices.random_range(0..servers))));
        }
        faults.truncate(count);
        faults
    }
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
