//! How PostgreSQL executes each call: the number of statements, and the scans in their plans.

use std::{fs, time::Duration};

use super::queries::{Clients, Query};
use crate::support::cluster::Cluster;

/// Makes new connections to a database log their plans.
pub fn log(cluster: &Cluster, database: &str) {
    for setting in ["session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0"] {
        cluster.psql("postgres", &format!("ALTER DATABASE {database} SET {setting}"));
    }
}

/// Makes each call once, on a service whose connections were opened after [`log`], and prints its statements and scans.
pub async fn print(cluster: &Cluster, queries: &[Query], clients: &Clients) {
    let log = cluster.directory().join("log");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    for query in queries {
        // Warm up: the first call of a connection reads more than the list, such as tokens and users.
        query.call(clients).await;
        let before = read().len();
        let rows = query.call(clients).await;
        // The plans can be logged after the response was sent.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let text = read();
        let plans = &text[before..];
        println!("\n{}: {rows} rows, {} statements", query.name, plans.matches("  plan:").count());
        let mut scans: Vec<&str> = plans.lines().filter(|line| line.contains(" Scan")).map(scan).collect();
        scans.dedup();
        for scan in scans {
            println!("    {scan}");
        }
    }
}

/// Returns for example `Index Scan using contacts_named on contacts`, without cost and indentation.
fn scan(line: &str) -> &str {
    let line = line.trim().trim_start_matches("->").trim();
    line.split("  (cost").next().unwrap_or(line)
}
