//! A private PostgreSQL cluster, which is removed when the process that started it ends, however it ends. Tests and benchmarks share this
//! file, so it uses nothing of either.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a start may take; prevents hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether the cluster's data survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is synced: fast, but lost in a crash of the machine. Allows the connections of many concurrent tests.
    None,
    /// PostgreSQL's defaults.
    Full,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    home: PathBuf,
    owner: Owner,
    port: u16,
    durability: Durability,
    process: Child,
    /// Stops the cluster and removes its directory when the pipe to it closes, also if this process is killed: statics are not dropped.
    _guardian: Child,
}

/// The user that runs the server programs, which refuse to run as root.
#[derive(Clone, Copy, Debug)]
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn find() -> Self {
        let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        if !root {
            return Self(None);
        }
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let ids = users.lines().find(|line| line.starts_with("postgres:")).and_then(|line| {
            let mut parts = line.split(':').skip(2);
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        Self(Some(ids.expect(
            "PostgreSQL refuses to run as root, and there is no user postgres to run it as",
        )))
    }

    fn command(self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(home)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

/// A client program of PostgreSQL; the caller adds the address.
#[allow(dead_code)] // used only by the behaviour tests
pub fn client_program(name: &str) -> Command {
    Command::new(programs().join(name))
}

impl Cluster {
    /// Creates and starts a cluster.
    pub fn start(durability: Durability) -> Self {
        let programs = programs();
        let owner = Owner::find();
        let home = tempfile::Builder::new()
            .prefix("parley-postgres-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        if let Owner(Some((user, group))) = owner {
            std::os::unix::fs::chown(&home, Some(user), Some(group)).expect("root may give its directory away");
        }
        let guardian = guard(&home);
        let mut initdb = owner.command(&programs.join("initdb"), &home);
        initdb.args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
        if durability == Durability::None {
            initdb.arg("--no-sync");
        }
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let process = launch(&programs, &home, owner, port, durability);
        let cluster = Self {
            programs,
            home,
            owner,
            port,
            durability,
            process,
            _guardian: guardian,
        };
        cluster.wait_until_ready();
        cluster
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its data directory.
    pub fn directory(&self) -> &Path {
        &self.home
    }

    /// A client program of the same version, connected to the cluster.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]);
        command
    }

    /// Stops the cluster like a crash: without a checkpoint and without notifying clients (`pg_ctl stop -m immediate`).
    pub fn crash(&mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::QUIT).expect("the cluster runs");
        self.process.wait().expect("the cluster is our child");
    }

    /// Kills all its processes (SIGKILL).
    pub fn kill(&mut self) {
        self.stand_still(true);
        let children = self.children();
        for process in children.iter().copied().chain([Pid::from_child(&self.process)]) {
            let _ = kill_process(process, Signal::KILL);
        }
        self.process.wait().expect("the cluster is our child");
        // Another cluster cannot start while one of them still has the shared memory attached.
        let begun = Instant::now();
        while children.iter().any(|child| stat(*child).is_some_and(|(state, _)| state != "Z")) {
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not die");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Suspends all its processes (SIGSTOP), or resumes them.
    pub fn stand_still(&self, still: bool) {
        let signal = if still { Signal::STOP } else { Signal::CONT };
        // The first process first: once suspended, it starts no more children.
        let _ = kill_process(Pid::from_child(&self.process), signal);
        for process in self.children() {
            // A process that has ended needs no signal.
            let _ = kill_process(process, signal);
        }
    }

    fn children(&self) -> Vec<Pid> {
        let postmaster = Pid::from_child(&self.process).as_raw_nonzero().get();
        let processes = fs::read_dir("/proc").expect("there are processes").filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Pid::from_raw(pid)
        });
        processes
            .filter(|process| stat(*process).is_some_and(|(_, parent)| parent == postmaster))
            .collect()
    }

    /// Restarts the cluster on the same port, which recovers what was committed.
    pub fn start_again(&mut self) {
        self.process = launch(&self.programs, &self.home, self.owner, self.port, self.durability);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        loop {
            let ready = self.program("pg_isready").arg("-q").status().expect("pg_isready runs");
            if ready.success() {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
                panic!("PostgreSQL is not ready after {PATIENCE:?}:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Fast shutdown; the guardian removes the directory.
        if kill_process(Pid::from_child(&self.process), Signal::INT).is_ok() {
            let _ = self.process.wait();
        }
    }
}

/// The state and the parent of a process.
fn stat(process: Pid) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // Skip the process name, which may contain any character.
    let mut rest = stat.rsplit(')').next()?.split_whitespace();
    Some((rest.next()?.to_owned(), rest.next()?.parse().ok()?))
}

/// The newest server programs on this machine.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let programs = path.join("bin");
            programs.join("initdb").exists().then_some((version, programs))
        })
        .collect();
    found.sort();
    match found.pop() {
        Some((_, programs)) => programs,
        None => {
            panic!("no PostgreSQL server in /usr/lib/postgresql: install postgresql (apt-get install postgresql), or set TEST_POSTGRES_URL")
        }
    }
}

fn launch(programs: &Path, home: &Path, owner: Owner, port: u16, durability: Durability) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("log"))
        .expect("the directory is ours");
    let mut command = owner.command(&programs.join("postgres"), home);
    command
        .args(["-D", "data", "-k"])
        .arg(home)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    if durability == Durability::None {
        for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=400"] {
            command.args(["-c", setting]);
        }
    }
    command.stdout(Stdio::null()).stderr(log).spawn().expect("postgres starts")
}

fn guard(home: &Path) -> Child {
    let script = r#"
        trap '' INT TERM HUP
        cat >/dev/null
        if [ -f "$0/data/postmaster.pid" ]; then
            kill -INT "$(head -n 1 "$0/data/postmaster.pid")" 2>/dev/null
            for _ in $(seq 100); do [ -f "$0/data/postmaster.pid" ] || break; sleep 0.1; done
        fi
        rm -rf "$0"
    "#;
    Command::new("sh")
        .args(["-c", script])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// A free port below the ephemeral range. A port in that range could be taken by a client while a server is down, and a client that retries
/// could even be connected to itself.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut tries = (0..1000).map(|_| rand::random_range(12_000..32_000));
    tries.find(free).expect("a port is free")
}
