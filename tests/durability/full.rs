//! A full disk under traffic: the SQLite file lies on a small tmpfs, which shrinks to its used size and grows again.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};
use tonic::Code;

use crate::{
    history::History,
    report::say,
    served,
    support::{
        api_fixture::outgoing,
        database::{Backend, Database},
    },
    traffic::{Load, Traffic},
};

/// How long writes may still succeed in space that the database had allocated before.
const PATIENCE: Duration = Duration::from_secs(20);

/// A tmpfs that only this process and its children see.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().expect("a folder"));
        disk.mount("size=8g");
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount(&self, options: &str) {
        assert!(self.tried(options), "mount -o {options}: it needs root");
    }

    fn tried(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "parley"]).arg(self.path());
        mount.output().expect("mount is there").status.success()
    }

    /// Shrinks the disk to its used size, so that no space is left.
    fn fill(&self) {
        // The kernel refuses a size below what is used, so a write between measuring and shrinking makes the remount fail: retry.
        while !self.tried(&format!("remount,size={}k", self.used())) {}
    }

    /// Grows the disk again.
    fn empty(&self) {
        self.mount("remount,size=8g");
    }

    /// The used size in kilobytes.
    fn used(&self) -> u64 {
        let df = Command::new("df")
            .args(["-k", "--output=used"])
            .arg(self.path())
            .output()
            .expect("df is there");
        let text = String::from_utf8_lossy(&df.stdout).into_owned();
        let line = text.lines().nth(1).expect("a line for one disk");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.path()).status();
    }
}

/// Runs traffic while the disk fills up repeatedly, once with a kill of the server. Returns the history that all clients recorded.
pub async fn filled(choices: &mut StdRng, time: Duration) -> History {
    let disk = Disk::new();
    let database = Database::at(format!("sqlite://{}/parley.db?mode=rwc", disk.path().display()));
    let url = database.url();
    let mut app = served(Backend::Sqlite, None).database(database).start().await;
    let traffic = Traffic::start(vec![app.server.listeners.clone()], url, Load::full(), choices).await;
    let talk = app.fixture().talk().await;
    let until = Instant::now() + time;
    let mut times = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(choices.random_range(500..2000))).await;
        disk.fill();
        let begun = Instant::now();
        loop {
            match app.fixture().send(talk, outgoing(&"x".repeat(20_000))).await {
                Ok(_) => assert!(begun.elapsed() < PATIENCE, "the disk is full and everything is taken"),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(choices.random_range(200..2000))).await;
        let dies = times == 1;
        if dies {
            app.server.kill();
        }
        disk.empty();
        if dies {
            app.start_again().await;
            traffic.moved(0, &app.server.listeners);
        }
        times += 1;
    }
    let history = traffic.finish(true).await;
    say(&format!("  the disk was full {times} times"));
    drop(app);
    history
}
