//! The clock for retention by age. A machine's clock can jump by years at any moment, and data that was removed because of it does not come
//! back when the clock is corrected.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use parley_storage::Database;
use parley_types::{error::Result, time::Micros};

/// Clock skew that is considered normal.
const USUAL: Duration = Duration::from_mins(1);

/// How long a jump ahead must last before it is trusted: the jump might correct a clock that was wrong at start.
const BELIEVED_AFTER: Duration = Duration::from_hours(1);

/// The earliest of three clocks: the machine's clock, the machine's clock without any recent jump, and the database's clock.
#[derive(Debug)]
pub struct Clock {
    db: Database,
    own: Mutex<Own>,
}

impl Clock {
    /// Trusts the current reading of the machine's clock.
    pub fn new(db: Database) -> Self {
        Self {
            db,
            own: Mutex::new(Own::new(Micros::now(), Instant::now())),
        }
    }

    /// Returns the earliest of the three clocks.
    ///
    /// # Errors
    /// Returns a database error if the database does not report its time.
    pub async fn now(&self) -> Result<Micros> {
        let theirs = self.db.in_time(async { Ok(self.db.clock().await?) }).await?;
        let wall = Micros::now();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = own.look(wall, Instant::now());
        let Some(theirs) = theirs else { return Ok(ours) };
        own.compare(wall, theirs);
        Ok(ours.min(theirs))
    }
}

/// The machine's clock, checked against the monotonic time since the last trusted reading.
#[derive(Debug)]
struct Own {
    believed: Micros,
    believed_at: Instant,
    doubted_since: Option<Instant>,
    leads: bool,
}

impl Own {
    fn new(wall: Micros, at: Instant) -> Self {
        Self {
            believed: wall,
            believed_at: at,
            doubted_since: None,
            leads: false,
        }
    }

    fn believe(&mut self, wall: Micros, at: Instant) {
        (self.believed, self.believed_at, self.doubted_since) = (wall, at, None);
    }

    fn look(&mut self, wall: Micros, at: Instant) -> Micros {
        let expected = self.believed.plus(at.duration_since(self.believed_at));
        if wall <= expected.plus(USUAL) {
            self.believe(wall, at);
            return wall;
        }
        match self.doubted_since {
            None => {
                self.doubted_since = Some(at);
                tracing::error!(
                    seconds = wall.seconds() - expected.seconds(),
                    "the clock jumped ahead: nothing is removed for its age until it is right again or has stayed so for an hour"
                );
            }
            Some(since) if at.duration_since(since) >= BELIEVED_AFTER => {
                tracing::warn!("the clock that jumped ahead is believed now");
                self.believe(wall, at);
                return wall;
            }
            Some(_) => {}
        }
        expected
    }

    /// Logs an error when the machine's clock gets ahead of the database's.
    fn compare(&mut self, wall: Micros, theirs: Micros) {
        let leads = theirs < wall.minus(USUAL);
        if leads && !self.leads {
            tracing::error!(
                seconds = wall.seconds() - theirs.seconds(),
                "this machine's clock is ahead of the database's, which is heeded for removing what is old"
            );
        }
        self.leads = leads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const YEAR: Duration = Duration::from_hours(24 * 365);

    /// A trusted reading, the instant at which it was taken, and the clock.
    fn clock() -> (Micros, Instant, Own) {
        let (wall, at) = (Micros(1_700_000_000_000_000), Instant::now());
        (wall, at, Own::new(wall, at))
    }

    #[test]
    fn a_clock_that_goes_right_is_followed() {
        let (wall, at, mut own) = clock();
        for seconds in [1, 2, 50, 4000, 4001] {
            let later = SECOND * seconds;
            // Runs slightly fast.
            let shown = wall.plus(later + later / 100);
            assert_eq!(own.look(shown, at + later), shown);
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_not_followed_until_it_stays() {
        let (wall, at, mut own) = clock();
        for seconds in [1, 2, 3000, 3600] {
            let later = SECOND * seconds;
            assert_eq!(own.look(wall.plus(later + YEAR), at + later), wall.plus(later));
        }
        let later = SECOND * 3601;
        assert_eq!(own.look(wall.plus(later + YEAR), at + later), wall.plus(later + YEAR));
    }

    #[test]
    fn a_clock_that_was_set_right_is_followed_at_once() {
        let (wall, at, mut own) = clock();
        own.look(wall.plus(YEAR), at + SECOND);
        let later = SECOND * 2;
        assert_eq!(own.look(wall.plus(later), at + later), wall.plus(later));
        // The next jump must last an hour of its own.
        let later = SECOND * 3601;
        assert_eq!(own.look(wall.plus(later), at + later), wall.plus(later));
        assert_eq!(own.look(wall.plus(later + YEAR), at + later), wall.plus(later));
    }

    #[test]
    fn a_clock_that_goes_back_is_followed() {
        let (wall, at, mut own) = clock();
        assert_eq!(own.look(wall.minus(YEAR), at + SECOND), wall.minus(YEAR));
    }

    #[test]
    fn a_first_look_after_a_long_time_is_no_proof() {
        let (wall, at, mut own) = clock();
        let later = SECOND * 7200;
        assert_eq!(own.look(wall.plus(later + YEAR), at + later), wall.plus(later));
    }
}
