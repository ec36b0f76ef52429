//! When something is broken: seeded, so that a run can be repeated.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};

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
