//! How PostgreSQL answers each call: how many statements it takes, and which scans they are.

use std::{fs, time::Duration};

use super::asks::{Ask, Clients};
use crate::support::cluster::Cluster;

/// Loads `auto_explain` into connections that open from now on; it stays silent.
pub fn load(cluster: &Cluster) {
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = -1",
        "auto_explain.log_nested_statements = on",
    ] {
        cluster.psql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    reload(cluster);
}

fn reload(cluster: &Cluster) {
    cluster.psql("postgres", "SELECT pg_reload_conf()");
    // The processes read their settings when they next have something to do, a moment after the signal.
    std::thread::sleep(Duration::from_millis(500));
}

/// Makes each call once and prints what it took.
pub async fn print(cluster: &Cluster, asks: &[Ask], clients: &Clients) {
    cluster.psql("postgres", "ALTER SYSTEM SET auto_explain.log_min_duration = 0");
    reload(cluster);
    let log = cluster.directory().join("log");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    for ask in asks {
        let before = read().len();
        let rows = ask.call(clients).await;
        // Answered does not mean logged.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let text = read();
        let plans = &text[before..];
        println!("\n{}: {rows} rows, {} statements", ask.name, plans.matches("  plan:").count());
        let mut scans: Vec<&str> = plans.lines().filter(|line| line.contains(" Scan")).map(scan).collect();
        scans.dedup();
        for scan in scans {
            println!("    {scan}");
        }
    }
    cluster.psql("postgres", "ALTER SYSTEM SET auto_explain.log_min_duration = -1");
    reload(cluster);
}

/// `Index Scan using contacts_named on contacts`, without cost and indentation.
fn scan(line: &str) -> &str {
    let line = line.trim().trim_start_matches("->").trim();
    line.split("  (cost").next().unwrap_or(line)
}
