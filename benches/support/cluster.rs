//! A private PostgreSQL with default durability, and the pgbench that came with it.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running cluster; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    /// Whom the server programs run as: they refuse root.
    owner: Option<(u32, u32)>,
    home: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Cluster {
    /// Makes and starts a cluster.
    pub fn start() -> Self {
        let programs = programs();
        let owner = owner();
        let home = tempfile::Builder::new()
            .prefix("parley-bench-")
            .tempdir()
            .expect("a temporary directory");
        if let Some((user, group)) = owner {
            chown(home.path(), Some(user), Some(group)).expect("root may give its directory away");
        }
        let made = command(&programs.join("initdb"), owner, home.path())
            .args([
                "-D",
                "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-N",
            ])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let log = fs::File::create(home.path().join("log")).expect("the directory is ours");
        // fsync, synchronous_commit and everything else as PostgreSQL sets them.
        let process = command(&programs.join("postgres"), owner, home.path())
            .args(["-D", "data", "-k", ".", "-c", "listen_addresses=127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let cluster = Self {
            programs,
            owner,
            home,
            port,
            process,
        };
        cluster.wait_until_ready();
        cluster
    }

    /// Where it keeps its data, for the disk probe.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    pub fn create(&self, database: &str) {
        self.psql("postgres", &format!("CREATE DATABASE {database}"));
    }

    /// Makes a database with the tables of `sql/schema.sql`.
    pub fn create_naive(&self, database: &str) {
        self.create(database);
        for statement in include_str!("../sql/schema.sql").split_inclusive(";\n") {
            self.psql(database, statement);
        }
    }

    /// Gives the planner its statistics, as `sql/schema.sql` does for the baseline; by itself PostgreSQL would only a minute later.
    pub fn analyze(&self, database: &str) {
        self.psql(database, "VACUUM ANALYZE");
    }

    /// Transactions per second of a script of `sql/` with so many clients.
    pub fn pgbench(&self, database: &str, script: &str, clients: usize, seconds: u64) -> f64 {
        let output = self.pgbench_output(database, script, clients, seconds, &[]);
        let rate = output
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .expect("pgbench tells its rate");
        let rate = rate.split_whitespace().next().expect("a rate is a number");
        rate.parse().expect("a rate is a number")
    }

    /// The median latency of a script with one client, in milliseconds.
    pub fn pgbench_median_ms(&self, database: &str, script: &str, seconds: u64) -> f64 {
        let prefix = self.home.path().join("transactions");
        let prefix = prefix.to_str().expect("temporary directories have plain names");
        self.pgbench_output(database, script, 1, seconds, &["-l", "--log-prefix", prefix]);
        let mut micros = Vec::new();
        for entry in fs::read_dir(self.home.path()).expect("the directory is ours").flatten() {
            if entry.file_name().to_string_lossy().starts_with("transactions.") {
                let log = fs::read_to_string(entry.path()).expect("pgbench wrote text");
                // client, transaction, latency in µs, …
                micros.extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
                fs::remove_file(entry.path()).expect("the file is ours");
            }
        }
        super::gauge::median(&micros) / 1000.0
    }

    fn pgbench_output(&self, database: &str, script: &str, clients: usize, seconds: u64, more: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql").join(script);
        // As ourselves, not as the cluster's owner, who may not be able to read the script.
        let output = Command::new(self.programs.join("pgbench"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-n",
                "-M",
                "prepared",
                "-f",
            ])
            .arg(script)
            .args([
                "-c",
                &clients.to_string(),
                "-j",
                &clients.min(2).to_string(),
                "-T",
                &seconds.to_string(),
            ])
            .args(more)
            .arg(database)
            .output()
            .expect("pgbench runs");
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("pgbench writes text")
    }

    fn psql(&self, database: &str, statement: &str) {
        let output = Command::new(self.programs.join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-d", database])
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        loop {
            let ready = Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()])
                .status()
                .expect("pg_isready runs");
            if ready.success() {
                return;
            }
            let log = || fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_mins(1), "PostgreSQL is not ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = command(&self.programs.join("pg_ctl"), self.owner, self.home.path())
            .args(["stop", "-D", "data", "-m", "fast", "-s"])
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn command(program: &Path, owner: Option<(u32, u32)>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn owner() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    let ids = users.lines().find(|line| line.starts_with("postgres:")).and_then(|line| {
        let mut parts = line.split(':').skip(2);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    Some(ids.expect("PostgreSQL refuses to run as root, and there is no user postgres to run it as"))
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
            (programs.join("initdb").exists() && programs.join("pgbench").exists()).then_some((version, programs))
        })
        .collect();
    found.sort();
    found
        .pop()
        .expect("no PostgreSQL with pgbench in /usr/lib/postgresql: install postgresql (apt-get install postgresql)")
        .1
}
