//! PostgreSQL on a full disk.

use std::{
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use parley_proto::GetConversationRequest;
use rand::{Rng as _, distr::Alphanumeric};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    cluster::{Cluster, Durability},
    database::{Backend, Database, execute},
    in_time,
    reader::whole_log,
    server::{program, run_to_end},
};

/// A small tmpfs. A keeper process unmounts it when the pipe from this program closes, also if this program is killed.
struct Small {
    home: tempfile::TempDir,
    keeper: Child,
}

impl Small {
    /// Requires root.
    fn of_megabytes(size: u32) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let script = r#"trap '' INT TERM HUP; mount -t tmpfs -o "size=$1m" parley "$0"; echo mounted; cat >/dev/null; umount -l "$0""#;
        let mut keeper = Command::new("sh")
            .args(["-ec", script])
            .arg(home.path())
            .arg(size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut said = [0; 8];
        let told = keeper.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(told, &mut said).expect("root may mount");
        Self { home, keeper }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn grow(&self, megabytes: u32) {
        let grown = Command::new("mount")
            .args(["-o", &format!("remount,size={megabytes}m")])
            .arg(self.path())
            .status();
        assert!(grown.expect("mount runs").success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Writes are refused until space is available again, reads continue, and no acknowledged message is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_writes_and_loses_nothing_on_postgres() {
    let (small, cluster) = tokio::task::spawn_blocking(|| (Small::of_megabytes(28), Cluster::start(Durability::None)))
        .await
        .expect("both are there");
    let owner = std::fs::metadata(cluster.directory()).expect("it is there");
    chown(small.path(), Some(owner.uid()), Some(owner.gid())).expect("root may give it away");
    let postgres = cluster.url("postgres");
    execute(&postgres, &format!("CREATE TABLESPACE small LOCATION '{}'", small.path().display())).await;
    execute(&postgres, "CREATE DATABASE small TABLESPACE small").await;
    let url = cluster.url("small");
    let app = TestApp::builder(Backend::Postgres)
        .database(Database::at(url.clone()))
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    // Random text, which cannot be compressed.
    let text = || {
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(100_000)
            .map(char::from)
            .collect::<String>()
    };
    let mut stored = 0;
    let refused = loop {
        match fixture.send(conversation, outgoing(&text())).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
        assert!(stored < 1000, "the disk has no end");
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: conversation,
    };
    let read = fixture.clients.conversations.clone().get_conversation(request).await;
    read.expect("what is there can be read");

    small.grow(128);
    in_time("room", async {
        while fixture.send(conversation, outgoing("there is room again")).await.is_err() {}
    })
    .await;
    let count = "SELECT CAST(count(*) AS bigint) FROM messages WHERE message_type = 1";
    assert_eq!(Database::number(&url, count).await, stored + 1);
    let log = whole_log(&app.clients(), 1).await;
    assert!(i64::try_from(log.len()).is_ok_and(|events| events > stored));
    drop(app);
    drop(cluster);
}

/// A start that finds no space for its database has its own exit code, and a later start continues from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_on_a_full_disk_has_its_own_exit_code() {
    let small = tokio::task::spawn_blocking(|| Small::of_megabytes(1)).await.expect("it is there");
    let start = || {
        let mut command = program();
        command
            .arg("serve")
            .current_dir(small.path())
            .env("PARLEY_FILES_URL", "file:/dev/null/none");
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
        }
        command
    };
    // First no space for all tables, then none to open the file at all.
    for filler in [900_000, 1_020_000] {
        std::fs::write(small.path().join("filler"), vec![0; filler]).expect("there is room for it");
        let ended = run_to_end(start()).await;
        assert_eq!(ended.code, Some(74), "{filler}: {}", ended.output);
        for name in ["filler", "parley.db", "parley.db-wal", "parley.db-shm"] {
            let _ = std::fs::remove_file(small.path().join(name));
        }
    }
    small.grow(64);
    let mut migrate = program();
    migrate.arg("migrate").current_dir(small.path());
    let ended = run_to_end(migrate).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}
