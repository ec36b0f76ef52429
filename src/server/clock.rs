//! The clock for retention by age. A machine's clock can jump by years at any moment, and data that is removed because of a jump is not
//! restored when the clock is corrected.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use parley_storage::Database;
use parley_types::{error::Result, time::Micros};

/// Clock skew that is considered normal.
const TOLERANCE: Duration = Duration::from_mins(1);

/// How long the clock must stay ahead after a jump before it is trusted. Such a jump can be right: it might correct a clock that was wrong
/// when the process started.
const TRUSTED_AFTER: Duration = Duration::from_hours(1);

/// The earliest of three clocks: the machine's clock, the machine's clock without any recent jump, and the database's clock.
#[derive(Debug)]
pub struct Clock {
    db: Database,
    local: Mutex<LocalClock>,
}

impl Clock {
    /// Creates a clock that trusts the current reading of the machine's clock.
    pub fn new(db: Database) -> Self {
        Self {
            db,
            local: Mutex::new(LocalClock::new(Micros::now(), Instant::now())),
        }
    }

    /// Returns the earliest of three times: the machine's clock, the machine's clock without any recent jump, and the database's clock.
    ///
    /// # Errors
    /// Returns a database error if the database does not report its time.
    pub async fn now(&self) -> Result<Micros> {
        let database_time = self.db.in_time(async { Ok(self.db.clock().await?) }).await?;
        let wall = Micros::now();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let local_time = local.observe(wall, Instant::now());
        let Some(database_time) = database_time else {
            return Ok(local_time);
        };
        local.compare(wall, database_time);
        Ok(local_time.min(database_time))
    }
}

/// The machine's clock, checked against the monotonic time since the last trusted reading.
#[derive(Debug)]
struct LocalClock {
    trusted: Micros,
    trusted_at: Instant,
    distrusted_since: Option<Instant>,
    is_ahead: bool,
}

impl LocalClock {
    fn new(wall: Micros, at: Instant) -> Self {
        Self {
            trusted: wall,
            trusted_at: at,
            distrusted_since: None,
            is_ahead: false,
        }
    }

    fn trust(&mut self, wall: Micros, at: Instant) {
        (self.trusted, self.trusted_at, self.distrusted_since) = (wall, at, None);
    }

    fn observe(&mut self, wall: Micros, at: Instant) -> Micros {
        let expected = self.trusted.plus(at.duration_since(self.trusted_at));
        if wall <= expected.plus(TOLERANCE) {
            self.trust(wall, at);
            return wall;
        }
        match self.distrusted_since {
            None => {
                self.distrusted_since = Some(at);
                tracing::error!(
                    seconds = wall.seconds() - expected.seconds(),
                    "the clock jumped ahead; suspending age-based removal until it is corrected or has been steady for an hour"
                );
            }
            Some(since) if at.duration_since(since) >= TRUSTED_AFTER => {
                tracing::warn!("the clock has been steady for an hour after jumping ahead; trusting it");
                self.trust(wall, at);
                return wall;
            }
            Some(_) => {}
        }
        expected
    }

    /// Logs an error when the machine's clock gets ahead of the database's.
    fn compare(&mut self, wall: Micros, database_time: Micros) {
        let is_ahead = database_time < wall.minus(TOLERANCE);
        if is_ahead && !self.is_ahead {
            tracing::error!(
                seconds = wall.seconds() - database_time.seconds(),
                "this machine's clock is ahead of the database's; using the database's clock for age-based removal"
            );
        }
        self.is_ahead = is_ahead;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const YEAR: Duration = Duration::from_hours(24 * 365);

    /// A trusted reading, the instant at which it was taken, and the clock.
    fn clock() -> (Micros, Instant, LocalClock) {
        let (wall, at) = (Micros(1_700_000_000_000_000), Instant::now());
        (wall, at, LocalClock::new(wall, at))
    }

    #[test]
    fn steady_clock_is_trusted() {
        let (wall, at, mut local) = clock();
        for seconds in [1, 2, 50, 4000, 4001] {
            let later = SECOND * seconds;
            // Runs slightly fast.
            let observed = wall.plus(later + later / 100);
            assert_eq!(local.observe(observed, at + later), observed);
        }
    }

    #[test]
    fn jump_ahead_is_trusted_only_after_an_hour() {
        let (wall, at, mut local) = clock();
        for seconds in [1, 2, 3000, 3600] {
            let later = SECOND * seconds;
            assert_eq!(local.observe(wall.plus(later + YEAR), at + later), wall.plus(later));
        }
        let later = SECOND * 3601;
        assert_eq!(local.observe(wall.plus(later + YEAR), at + later), wall.plus(later + YEAR));
    }

    #[test]
    fn corrected_clock_is_trusted_immediately() {
        let (wall, at, mut local) = clock();
        local.observe(wall.plus(YEAR), at + SECOND);
        let later = SECOND * 2;
        assert_eq!(local.observe(wall.plus(later), at + later), wall.plus(later));
        // The next jump must last an hour of its own.
        let later = SECOND * 3601;
        assert_eq!(local.observe(wall.plus(later), at + later), wall.plus(later));
        assert_eq!(local.observe(wall.plus(later + YEAR), at + later), wall.plus(later));
    }

    #[test]
    fn clock_set_back_is_trusted() {
        let (wall, at, mut local) = clock();
        assert_eq!(local.observe(wall.minus(YEAR), at + SECOND), wall.minus(YEAR));
    }

    #[test]
    fn jump_at_the_first_observation_is_not_trusted() {
        let (wall, at, mut local) = clock();
        let later = SECOND * 7200;
        assert_eq!(local.observe(wall.plus(later + YEAR), at + later), wall.plus(later));
    }
}
