//! Runs commands and announces stages, in the terminal or in the background with a log file.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::checks::{children::Children, durations::Durations, settings::Settings};

/// Runs commands, in the foreground or as a background check.
#[derive(Clone, Debug)]
pub struct Runner {
    pub settings: Arc<Settings>,
    pub children: Arc<Children>,
    pub durations: Arc<Durations>,
    log: Option<Log>,
}

/// The output of a background check.
#[derive(Clone, Debug)]
struct Log {
    name: &'static str,
    file: Arc<File>,
}

impl Runner {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            children: Arc::default(),
            durations: Arc::new(Durations::new()),
            log: None,
        }
    }

    /// Returns a runner for a background check. Its commands have no input, write to a file, and lead a process group each.
    pub fn for_background(&self, name: &'static str, file: File) -> Self {
        let file = Arc::new(file);
        Self {
            log: Some(Log { name, file }),
            ..self.clone()
        }
    }

    /// Writes to the terminal or the log. A closed terminal must not fail a run.
    pub fn print(&self, text: impl AsRef<[u8]>) {
        let _ = match &self.log {
            Some(log) => log.file.as_ref().write_all(text.as_ref()),
            None => io::stdout().write_all(text.as_ref()),
        };
    }

    /// Announces a stage, with the elapsed seconds.
    pub fn stage(&self, name: impl Display) {
        self.note(&name);
        self.durations.begin(self.background(), name.to_string());
    }

    /// Announces something that is not a stage, with the elapsed seconds.
    pub fn note(&self, text: impl Display) {
        self.print(format!("\n== {text} (after {} s)\n", self.durations.elapsed().as_secs()));
    }

    /// Ends the last stage.
    pub fn end_stage(&self) {
        self.durations.end(self.background());
    }

    fn background(&self) -> Option<&'static str> {
        self.log.as_ref().map(|log| log.name)
    }

    /// Returns a command in the root of the repository.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Step<'_> {
        let mut command = Command::new(program);
        command.current_dir(&self.settings.root);
        Step { runner: self, command }
    }

    /// Returns what a command prints, or `None` if it fails or does not exist. For commands that only inspect the machine: they run even if only the plan
    /// is printed.
    pub fn probe(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.settings.root).stdin(Stdio::null());
        self.settings.adapt_environment(&mut command);
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim_end().to_owned())
    }
}

/// A command that is about to run.
#[derive(Debug)]
#[must_use]
pub struct Step<'a> {
    runner: &'a Runner,
    command: Command,
}

impl Step<'_> {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder in which the command runs.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error that names the command and its exit status if it fails.
    pub fn run(self) -> Result<()> {
        let line = self.line();
        let status = self.status(Streams::Shown)?.0;
        ensure!(status.success(), "{line} failed ({status})");
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error with the message if the command fails.
    pub fn run_or(self, message: impl Display) -> Result<()> {
        let status = self.status(Streams::Shown)?.0;
        ensure!(status.success(), "{message}");
        Ok(())
    }

    /// Runs the command and discards its standard output.
    ///
    /// # Errors
    /// Returns an error with the message if the command fails.
    pub fn run_quietly_or(self, message: impl Display) -> Result<()> {
        let status = self.status(Streams::Hidden)?.0;
        ensure!(status.success(), "{message}");
        Ok(())
    }

    /// Runs the command, shows what it prints, and returns whether it succeeded and both of its output streams.
    ///
    /// # Errors
    /// Returns an error if the command cannot be started.
    pub fn shown_output(self) -> Result<(bool, String)> {
        let (status, text) = self.status(Streams::ShownAndReturned)?;
        Ok((status.success(), text))
    }

    /// Runs the command, and returns whether it succeeded and its standard output. Only its standard error is shown.
    ///
    /// # Errors
    /// Returns an error if the command cannot be started.
    pub fn output(self) -> Result<(bool, String)> {
        let (status, text) = self.status(Streams::Returned)?;
        Ok((status.success(), text))
    }

    fn status(mut self, streams: Streams) -> Result<(ExitStatus, String)> {
        let line = self.line();
        let runner = self.runner;
        if runner.settings.is_plan {
            runner.print(format!("{line}\n"));
            return Ok((ExitStatus::default(), String::new()));
        }
        runner.settings.adapt_environment(&mut self.command);
        let (mut reader, writer) = io::pipe()?;
        if let Some(log) = &runner.log {
            self.command
                .stdin(Stdio::null())
                .stdout(log.file.try_clone()?)
                .stderr(log.file.try_clone()?);
        }
        match streams {
            Streams::Shown => {}
            Streams::Hidden => drop(self.command.stdout(Stdio::null())),
            Streams::Returned => drop(self.command.stdout(writer.try_clone()?)),
            Streams::ShownAndReturned => drop(self.command.stdout(writer.try_clone()?).stderr(writer.try_clone()?)),
        }
        let spawned = runner.children.spawn(&mut self.command, runner.log.is_some());
        let running = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{line}: the program does not exist"),
            other => other.with_context(|| line.clone())?,
        };
        // The pipe is closed only when no process holds its writing end, this one included.
        drop((self.command, writer));
        let mut text = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            text.extend_from_slice(&buffer[..count]);
            if streams == Streams::ShownAndReturned {
                runner.print(&buffer[..count]);
            }
        }
        Ok((running.wait()?, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Returns the command as a line of a shell.
    fn line(&self) -> String {
        let mut words = Vec::new();
        if let Some(folder) = self.command.get_current_dir().filter(|folder| *folder != self.runner.settings.root) {
            words.push(format!("cd {} &&", quoted(folder.as_os_str())));
        }
        for (name, value) in self.command.get_envs() {
            words.push(format!("{}={}", name.display(), quoted(value.unwrap_or_default())));
        }
        words.push(quoted(self.command.get_program()));
        words.extend(self.command.get_args().map(quoted));
        words.join(" ")
    }
}

/// Where the output of a command goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Streams {
    Shown,
    Hidden,
    Returned,
    ShownAndReturned,
}

/// Returns a word of a command line, in quotes if a shell would split or expand it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=,@+%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(is_plan: bool) -> Runner {
        let settings = Settings::new(std::env::temp_dir(), is_plan).unwrap();
        Runner::new(settings)
    }

    #[test]
    fn failures_report_the_command_or_its_hint() {
        let runner = runner(false);
        let fails = || runner.command("sh").args(["-c", "exit 3"]);
        let error = fails().run().unwrap_err().to_string();
        assert_eq!(error, "sh -c 'exit 3' failed (exit status: 3)");
        assert_eq!(fails().run_or("run it again").unwrap_err().to_string(), "run it again");
        let error = runner.command("no-such-program").run().unwrap_err().to_string();
        assert_eq!(error, "no-such-program: the program does not exist");
    }

    #[test]
    fn output_is_returned_with_and_without_errors() {
        let runner = runner(false);
        let both = || runner.command("sh").args(["-c", "echo out; echo error >&2; exit 1"]);
        assert_eq!(both().output().unwrap(), (false, "out\n".to_owned()));
        assert_eq!(both().shown_output().unwrap(), (false, "out\nerror\n".to_owned()));
    }

    #[test]
    fn plan_runs_nothing() {
        let runner = runner(true);
        runner.command("no-such-program").run().unwrap();
        assert_eq!(
            runner.command("sh").args(["-c", "echo out"]).output().unwrap(),
            (true, String::new())
        );
        assert_eq!(runner.probe("sh", &["-c", "echo out"]).as_deref(), Some("out"));
    }

    #[test]
    fn lines_are_quoted_for_a_shell() {
        let runner = runner(true);
        let step = runner
            .command("cargo")
            .args(["test", "a b", "it's", ""])
            .env("A", "1 2")
            .folder(Path::new("/"));
        assert_eq!(step.line(), r"cd / && A='1 2' cargo test 'a b' 'it'\''s' ''");
    }
}
