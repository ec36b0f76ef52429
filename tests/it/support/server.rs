//! The real server as a process.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::in_time;

/// The addresses of a server's listeners.
#[derive(Clone, Debug, Default)]
pub struct ListenerAddresses {
    /// The gRPC listener, `host:port`.
    pub grpc: String,
    /// The JSON API.
    pub http: String,
    /// The admin listener, with health and metrics.
    pub admin: String,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: Log,
    /// The addresses of its listeners.
    pub listeners: ListenerAddresses,
}

/// What a server wrote to standard error, printed if a test fails.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().expect("no writer of the log panics").push(line);
    }

    fn text(&self) -> String {
        self.0.lock().expect("no writer of the log panics").join("\n")
    }
}

/// The program under test, without environment variables of the caller that could configure it.
pub fn program() -> Command {
    cleaned(Command::new(env!("CARGO_BIN_EXE_parley")))
}

/// Another build of the program, such as an older release.
#[allow(dead_code)] // used by the durability tests
pub fn program_at(path: &str) -> Command {
    cleaned(Command::new(path))
}

/// The program started by a shell after a command that limits it, such as `ulimit -n 256`.
#[allow(dead_code)] // used only by the behaviour tests
pub fn limited(by: &str) -> Command {
    after(Command::new("sh"), by)
}

/// Like [`limited`], with another build of the program.
#[allow(dead_code)] // used by the siege
pub fn limited_at(path: &str, by: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{by}; exec \"$0\" \"$@\"")).arg(path);
    cleaned(shell)
}

/// The program started after a command such as `mount`, in its own mount namespace.
#[allow(dead_code)] // used only by the behaviour tests
pub fn in_a_namespace(first: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-e"]);
    after(unshare, first)
}

fn after(mut shell: Command, by: &str) -> Command {
    shell
        .arg("-c")
        .arg(format!("{by}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_parley"));
    cleaned(shell)
}

fn cleaned(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PARLEY_") || name.starts_with("OTEL_") {
            command.env_remove(&*name);
        }
    }
    command
}

impl Server {
    /// Starts a server in `home`, and waits until its three listeners are open.
    pub async fn start(home: &Path, environment: &BTreeMap<String, String>) -> Self {
        Self::start_by(program(), home, environment).await
    }

    /// Like [`Self::start`], with a command of the test.
    pub async fn start_by(mut program: Command, home: &Path, environment: &BTreeMap<String, String>) -> Self {
        let mut child = program
            .arg("serve")
            .current_dir(home)
            .env("PARLEY_GRPC_ADDR", "127.0.0.1:0")
            .env("PARLEY_HTTP_ADDR", "127.0.0.1:0")
            .env("PARLEY_ADMIN_ADDR", "127.0.0.1:0")
            .env("PARLEY_LOG_FORMAT", "json")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::default();
        let (opened, mut openings) = mpsc::unbounded_channel();
        let lines = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
        let copy = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(listener) = listener(&line) {
                    let _ = opened.send(listener);
                }
                copy.push(line);
            }
        });
        let mut server = Self {
            child,
            log,
            listeners: ListenerAddresses::default(),
        };
        for _ in 0..3 {
            match in_time("the server's listeners", openings.recv()).await {
                Some((name, address)) if name == "grpc" => server.listeners.grpc = address,
                Some((name, address)) if name == "http" => server.listeners.http = address,
                Some((_, address)) => server.listeners.admin = address,
                // Standard error was closed, so the server has exited.
                None => panic!("the server ended with {}:\n{}", server.wait().await, server.log.text()),
            }
        }
        server
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Makes the server drain (SIGTERM).
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the server runs");
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("the server is our child");
        self.child.wait().expect("the server is our child");
    }

    /// Waits until the server has exited.
    pub async fn wait(&mut self) -> ExitStatus {
        in_time("the server's end", async {
            loop {
                if let Some(status) = self.child.try_wait().expect("the server is our child") {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A test that fails after its servers have exited cannot show their logs, so write them to this directory.
        if let Some(logs) = std::env::var_os("TEST_SERVER_LOGS") {
            let _ = std::fs::write(Path::new(&logs).join(format!("{}.log", self.child.id())), self.log.text());
        }
        if std::thread::panicking() {
            let address = &self.listeners.grpc;
            eprintln!("--- log of the server at {address}\n{}\n--- end of the log", self.log.text());
        }
    }
}

/// The outcome of a program that exits by itself.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output, followed by standard error.
    pub output: String,
}

/// Runs the program until it exits.
pub async fn run_to_end(mut command: Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("standard output is piped");
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let pid = Pid::from_child(&child);
    let reading = tokio::task::spawn_blocking(move || {
        let mut output = String::new();
        let _ = stdout.read_to_string(&mut output);
        let _ = stderr.read_to_string(&mut output);
        let status = child.wait().expect("the program is our child");
        Ended {
            code: status.code(),
            output,
        }
    });
    if let Ok(ended) = tokio::time::timeout(super::PATIENCE, reading).await {
        ended.expect("reading does not panic")
    } else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("the program did not end by itself within {:?}", super::PATIENCE);
    }
}

/// The name and the address of a listener, parsed from the log line that announces it in either log format. Release 0.1.0 names the listener
/// in the field `door`.
fn listener(line: &str) -> Option<(String, String)> {
    let named = ["listening listener=\"", "listening door=\""];
    if let Some((_, fields)) = named.iter().find_map(|start| line.split_once(start)) {
        let (name, address) = fields.split_once("\" address=")?;
        return Some((name.to_owned(), address.split_whitespace().next()?.to_owned()));
    }
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" {
        return None;
    }
    let name = line["listener"].as_str().or(line["door"].as_str())?;
    Some((name.to_owned(), line["address"].as_str()?.to_owned()))
}
