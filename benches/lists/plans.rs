//! How PostgreSQL answers each call: how many statements it takes, and which scans they are.

use std::{fs, time::Duration};

use super::asks::{Ask, Clients};
use crate::support::cluster::Cluster;

/// Lets connections to a database that open from now on log their plans.
pub fn log(cluster: &Cluster, database: &str) {
    for setting in ["session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0"] {
        cluster.psql("postgres", &format!("ALTER DATABASE {database} SET {setting}"));
    }
}

/// Makes each call once, of a service that opens its connections after `log`, and prints what it took.
pub async fn print(cluster: &Cluster, asks: &[Ask], clients: &Clients) {
    let log = cluster.directory().join("log");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    for ask in asks {
        // The first call of a connection reads more than the list: tokens, users.
        ask.call(clients).await;
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
}

/// `Index Scan using contacts_named on contacts`, without cost and indentation.
fn scan(line: &str) -> &str {
    let line = line.trim().trim_start_matches("->").trim();
    line.split("  (cost").next().unwrap_or(line)
}
