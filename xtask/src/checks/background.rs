//! Checks that run beside others.

use std::{
    fs::{self, File},
    path::PathBuf,
    thread::{self, JoinHandle},
};

use anyhow::{Result, bail};

use crate::checks::runner::Runner;

/// A check that runs in the background, with its output in a file.
#[derive(Debug)]
pub struct Background<T> {
    name: &'static str,
    log: PathBuf,
    /// `None` if only the plan is printed.
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Default + Send + 'static> Background<T> {
    /// Begins a check in the background. If this process ends before [`Background::finish`], the commands of the check are stopped.
    ///
    /// # Errors
    /// Returns an error if the log cannot be created.
    pub fn begin(runner: &Runner, name: &'static str, check: fn(&Runner) -> Result<T>) -> Result<Self> {
        let log = runner.settings.root.join(format!("target/{name}.log"));
        runner.note(format!("{name} begins; its output is in target/{name}.log until it ends"));
        let mut thread = None;
        if runner.settings.is_plan {
            check(runner)?;
            runner.note(format!("{name} ends here"));
        } else {
            fs::create_dir_all(runner.settings.root.join("target"))?;
            let background = runner.for_background(name, File::create(&log)?);
            thread = Some(thread::spawn(move || {
                let result = check(&background);
                background.end_stage();
                if let Err(error) = &result {
                    background.print(format!("test: {error:#}\n"));
                }
                result
            }));
        }
        Ok(Self { name, log, thread })
    }

    /// Waits for the check, prints its output, and returns its result.
    ///
    /// # Errors
    /// Returns an error if the check failed.
    pub fn finish(self, runner: &Runner) -> Result<T> {
        runner.stage(format!("waiting for {}", self.name));
        let Some(thread) = self.thread else { return Ok(T::default()) };
        let ended = thread.join();
        runner.print(fs::read(&self.log)?);
        match ended {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => bail!("{} failed; its output is above", self.name),
            Err(_) => bail!("{} panicked; its output is above", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::checks::settings::Settings;

    fn runner(folder: &tempfile::TempDir) -> Runner {
        Runner::new(Settings::new(folder.path().to_owned(), false).unwrap())
    }

    fn shell(runner: &Runner, script: &str) -> Result<()> {
        runner.command("sh").args(["-c", script]).run()
    }

    #[test]
    fn output_goes_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let runner = runner(&folder);
        let background = Background::begin(&runner, "prints", |runner| {
            runner.stage("first");
            shell(runner, "echo one; echo two >&2; cat")?;
            runner.stage("second");
            Ok(())
        });
        background.unwrap().finish(&runner).unwrap();
        let log = fs::read_to_string(folder.path().join("target/prints.log")).unwrap();
        assert_eq!(log, "\n== first (after 0 s)\none\ntwo\n\n== second (after 0 s)\n");
    }

    #[test]
    fn failure_is_reported_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let runner = runner(&folder);
        let background = Background::begin(&runner, "fails", |runner| shell(runner, "exit 3")).unwrap();
        let error = background.finish(&runner).unwrap_err().to_string();
        assert_eq!(error, "fails failed; its output is above");
        let log = fs::read_to_string(folder.path().join("target/fails.log")).unwrap();
        assert_eq!(log, "test: sh -c 'exit 3' failed (exit status: 3)\n");
    }

    #[test]
    fn stopping_ends_the_background_stage() {
        let folder = tempfile::tempdir().unwrap();
        let runner = runner(&folder);
        let start = Instant::now();
        let background = Background::begin(&runner, "sleeps", |runner| shell(runner, "echo begun; sleep 60; true")).unwrap();
        let log = folder.path().join("target/sleeps.log");
        while fs::read_to_string(&log).unwrap().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "it did not begin");
            thread::sleep(Duration::from_millis(10));
        }
        runner.children.stop();
        assert!(background.finish(&runner).is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
