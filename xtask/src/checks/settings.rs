//! Where a run works, and the environment of its commands.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result};

/// Where this run works, and with how much of the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root of the repository, in which all commands run.
    pub root: PathBuf,
    /// The target directory of Cargo.
    pub target: PathBuf,
    /// The folder for tools that are not Debian packages.
    pub tools: PathBuf,
    /// The number of parallel compilers: `TEST_JOBS`.
    pub jobs: usize,
    /// The number of parallel behaviour tests: `TEST_THREADS`. Twice the processors by default, because those tests mostly wait for servers.
    pub threads: String,
    /// Print the commands that change something or take time, and run only those that look at the machine.
    pub is_plan: bool,
}

impl Settings {
    /// Reads the settings for a repository from the environment.
    ///
    /// # Errors
    /// Returns an error if `TEST_JOBS` is not a number.
    pub fn new(root: PathBuf, is_plan: bool) -> Result<Self> {
        let jobs = match variable("TEST_JOBS") {
            Some(jobs) => jobs.parse().context("TEST_JOBS is not a number")?,
            None => thread::available_parallelism()?.get(),
        };
        Ok(Self {
            target: root.join(variable("CARGO_TARGET_DIR").as_deref().unwrap_or("target")),
            tools: root.join("target/tools"),
            jobs,
            threads: variable("TEST_THREADS").unwrap_or_else(|| (3 * jobs).to_string()),
            root,
            is_plan,
        })
    }

    /// Returns the path of the program that the tests build.
    pub fn program(&self) -> PathBuf {
        self.target.join("debug/parley")
    }

    /// Returns whether a program is on the PATH of the commands.
    pub fn has(&self, program: &str) -> bool {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain([self.linked_programs()])
            .any(|folder| is_executable(&folder.join(program)))
    }

    /// Returns the folder with links to programs that commands call by name. It is the last on the PATH, so programs of the system take precedence.
    pub fn linked_programs(&self) -> PathBuf {
        self.tools.join("bin")
    }

    /// Sets the environment that all commands share.
    pub fn adapt_environment(&self, command: &mut Command) {
        // Incremental artefacts use three times the disk space of everything else.
        command.env("CARGO_INCREMENTAL", "0");
        let path = env::var_os("PATH").unwrap_or_default();
        // Joining fails if the path of the folder contains a colon; the PATH then stays as it is.
        if let Ok(path) = env::join_paths(env::split_paths(&path).chain([self.linked_programs()])) {
            command.env("PATH", path);
        }
        // `cargo run` sets these variables. Build scripts that watch them would run again.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
    }
}

/// Returns a variable of the environment. An empty variable is treated as absent.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns whether a path is an executable file.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
