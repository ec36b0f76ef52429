//! The processes that this one has started. They are stopped when it fails or is interrupted.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

/// The running processes.
#[derive(Debug, Default)]
pub struct Children(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: Vec<Entry>,
    is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    pid: Pid,
    leads_group: bool,
}

/// A running process, until it is waited for.
#[derive(Debug)]
pub struct Running<'a> {
    children: &'a Children,
    pub child: Child,
    entry: Entry,
}

impl Children {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a command. If `leads_group` is set, it leads a new process group: its children are stopped with it, and Ctrl-C in the terminal does not reach
    /// them.
    ///
    /// # Errors
    /// Returns an error if the program cannot be started, and after [`Children::stop`].
    pub fn spawn(&self, command: &mut Command, leads_group: bool) -> io::Result<Running<'_>> {
        // Held while the process starts, so that `stop` misses none.
        let mut state = self.state();
        if state.is_stopped {
            return Err(io::Error::other("the run has been stopped"));
        }
        if leads_group {
            command.process_group(0);
        }
        let child = command.spawn()?;
        let entry = Entry {
            pid: Pid::from_child(&child),
            leads_group,
        };
        state.running.push(entry);
        Ok(Running {
            children: self,
            child,
            entry,
        })
    }

    /// Terminates all running processes. No other can be started afterwards.
    pub fn stop(&self) {
        drop(self.terminate());
    }

    fn terminate(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.is_stopped = true;
        for entry in &state.running {
            // It may have ended already.
            let _ = if entry.leads_group {
                kill_process_group(entry.pid, Signal::TERM)
            } else {
                kill_process(entry.pid, Signal::TERM)
            };
        }
        state
    }

    /// Stops all processes when this one is interrupted or terminated, and then ends it with the same signal.
    ///
    /// # Errors
    /// Returns an error if the signals cannot be caught.
    pub fn stop_on_signals(self: Arc<Self>) -> Result<()> {
        let caught = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
        let mut signals = Signals::new(caught)?;
        thread::spawn(move || {
            for signal in signals.forever() {
                // Locked until the process ends, so that no thread reports the stopped commands as failures.
                let _state = self.terminate();
                let _ = emulate_default_handler(signal);
            }
        });
        Ok(())
    }
}

/// Returns whether this process was started with a signal ignored, as by nohup. Such a signal must stay ignored.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

impl Running<'_> {
    /// Waits until the process ends.
    ///
    /// # Errors
    /// Returns an error if the system does not report the exit status.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.children.state().running.retain(|other| *other != self.entry);
        status
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
        time::{Duration, Instant},
    };

    use rustix::process::test_kill_process;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn stopping_ends_the_children_of_a_group() {
        let children = Children::default();
        let mut command = shell("sleep 60 & echo $!; wait");
        let mut running = children.spawn(command.stdout(Stdio::piped()), true).unwrap();
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        assert!(test_kill_process(grandchild).is_ok());
        children.stop();
        assert!(!running.wait().unwrap().success());
        let start = Instant::now();
        while is_running(grandchild) {
            assert!(start.elapsed() < Duration::from_secs(10), "the grandchild survived");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns whether a process exists and is not a zombie, for whose exit status its parent has not asked.
    fn is_running(pid: Pid) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        status.is_ok_and(|status| !status.contains(") Z "))
    }

    #[test]
    fn nothing_starts_after_a_stop() {
        let children = Children::default();
        children.stop();
        assert!(children.spawn(&mut shell("true"), false).is_err());
    }

    #[test]
    fn ended_processes_are_forgotten() {
        let children = Children::default();
        let running = children.spawn(&mut shell("exit 3"), false).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(3));
        assert!(children.state().running.is_empty());
    }
}
