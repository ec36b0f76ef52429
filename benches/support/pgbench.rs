//! Extensions of the test cluster for the benchmarks: the baselines' databases, and the cluster's pgbench.

use std::{fs, path::Path};

use super::cluster::Cluster;

impl Cluster {
    /// Creates an empty database.
    pub fn create(&self, database: &str) {
        self.psql("postgres", &format!("CREATE DATABASE {database}"));
    }

    /// Creates a database with the tables of `sql/schema.sql`.
    pub fn create_naive(&self, database: &str) {
        self.create(database);
        for statement in include_str!("../sql/schema.sql").split_inclusive(";\n") {
            self.psql(database, statement);
        }
    }

    /// Collects planner statistics, as `sql/schema.sql` does for the baseline. Autovacuum would do so only a minute later.
    pub fn analyze(&self, database: &str) {
        self.psql(database, "VACUUM ANALYZE");
    }

    /// Runs a script of `sql/` with `clients` clients and returns transactions per second.
    pub fn pgbench(&self, database: &str, script: &str, clients: usize, seconds: u64) -> f64 {
        let output = self.pgbench_output(database, script, clients, seconds, &[]);
        let rate = output
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .expect("pgbench prints its rate");
        let rate = rate.split_whitespace().next().expect("a rate is a number");
        rate.parse().expect("a rate is a number")
    }

    /// Returns the median latency of a script with one client, in milliseconds.
    pub fn pgbench_median_ms(&self, database: &str, script: &str, seconds: u64) -> f64 {
        let prefix = self.directory().join("transactions");
        let prefix = prefix.to_str().expect("the path of a temporary directory is UTF-8");
        self.pgbench_output(database, script, 1, seconds, &["-l", "--log-prefix", prefix]);
        let mut micros = Vec::new();
        for entry in fs::read_dir(self.directory()).expect("the directory is readable").flatten() {
            if entry.file_name().to_string_lossy().starts_with("transactions.") {
                let log = fs::read_to_string(entry.path()).expect("pgbench writes text");
                // Fields: client, transaction, latency in µs, …
                micros.extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
                fs::remove_file(entry.path()).expect("the file can be removed");
            }
        }
        super::measurements::median(&micros) / 1000.0
    }

    fn pgbench_output(&self, database: &str, script: &str, clients: usize, seconds: u64, more: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql").join(script);
        // Run as the current user, because the cluster's owner might not be able to read the script.
        let output = self
            .program("pgbench")
            .args(["-n", "-M", "prepared", "-f"])
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

    pub fn psql(&self, database: &str, statement: &str) {
        let output = self
            .program("psql")
            .args(["-d", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }
}
