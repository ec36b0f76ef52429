//! How long each stage took.

use std::{
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The stages of a run, in the order in which they began.
#[derive(Debug)]
pub struct Durations {
    start: Instant,
    stages: Mutex<Vec<Stage>>,
}

#[derive(Debug)]
struct Stage {
    /// The name of the background check that it belongs to.
    background: Option<&'static str>,
    name: String,
    begin: Duration,
    end: Option<Duration>,
}

impl Durations {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            stages: Mutex::default(),
        }
    }

    /// Returns the time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn stages(&self) -> MutexGuard<'_, Vec<Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stage, which ends the previous one of the same background check, or of the foreground.
    pub fn begin(&self, background: Option<&'static str>, name: String) {
        self.end(background);
        self.stages().push(Stage {
            background,
            name,
            begin: self.elapsed(),
            end: None,
        });
    }

    /// Ends the current stage.
    pub fn end(&self, background: Option<&'static str>) {
        let now = self.elapsed();
        let mut stages = self.stages();
        if let Some(last) = stages.iter_mut().rfind(|stage| stage.background == background) {
            last.end.get_or_insert(now);
        }
    }

    /// Returns one line for each stage that took at least `minimum`: when it began, how many seconds it took, and its name. The table is empty if there was
    /// only one stage.
    pub fn table(&self, minimum: Duration) -> String {
        let stages = self.stages();
        if stages.len() < 2 {
            return String::new();
        }
        let now = self.elapsed();
        let mut table = String::from("  begin seconds\n");
        for stage in stages.iter() {
            let duration = stage.end.unwrap_or(now).saturating_sub(stage.begin);
            if duration < minimum {
                continue;
            }
            let seconds = duration.as_secs();
            let begin = stage.begin.as_secs();
            let (background, colon) = stage.background.map_or(("", ""), |name| (name, ": "));
            // Writing to a string does not fail.
            let _ = writeln!(table, "{begin:7} {seconds:7}  {background}{colon}{}", stage.name);
        }
        let _ = writeln!(table, "{:7} {:7}  total", 0, now.as_secs());
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreground_and_background_stages_end_independently() {
        let durations = Durations::new();
        durations.begin(None, "lint".to_owned());
        durations.begin(Some("prepare"), "installing".to_owned());
        durations.begin(None, "documentation".to_owned());
        let ended: Vec<bool> = durations.stages().iter().map(|stage| stage.end.is_some()).collect();
        assert_eq!(ended, [true, false, false]);
        durations.end(Some("prepare"));
        assert!(durations.stages()[1].end.is_some());
        let table = durations.table(Duration::ZERO);
        let names: Vec<&str> = table.lines().skip(1).map(|line| line[17..].trim()).collect();
        assert_eq!(names, ["lint", "prepare: installing", "documentation", "total"]);
        assert_eq!(
            durations.table(Duration::from_secs(1)).lines().count(),
            2,
            "the heading and the total"
        );
    }
}
