//! What docs/backup.md says: a backup is made while messages are written, restored elsewhere, and everybody who holds a cursor is told.

use std::{process::Command, sync::Arc};

use parley::pb::subscribe_request::Start;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use tokio_util::sync::CancellationToken;

use crate::support::{
    app::TestApp,
    cluster::client_program,
    database::{Backend, Database},
    fault::fault,
    on_both,
    reader::{Reader, everything, log_info, whole_log},
    server::{program, run_to_end},
};

on_both!(a_backup_under_load_is_whole_and_its_restore_is_told);

async fn run(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic")
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An address as PostgreSQL's own programs take it.
fn plain(database: &Database) -> String {
    let url = database.url();
    url.split('?').next().unwrap_or_default().to_owned()
}

/// Backs a database up as the page says, and restores it into an empty one.
async fn back_up_and_restore(database: &Database, backend: Backend) -> Database {
    let folder = tempfile::tempdir().expect("a folder");
    let restored = Database::create(backend).await;
    match backend {
        Backend::Postgres => {
            let file = folder.path().join("parley.dump").display().to_string();
            let mut dump = client_program("pg_dump");
            dump.args(["--format=custom", &format!("--file={file}"), &plain(database)]);
            run(dump).await;
            let mut restore = client_program("pg_restore");
            restore.args([
                "--clean",
                "--if-exists",
                "--no-owner",
                &format!("--dbname={}", plain(&restored)),
                &file,
            ]);
            run(restore).await;
        }
        Backend::Sqlite => {
            let file = folder.path().join("backup.db");
            let mut connection = SqliteConnection::connect(&database.url()).await.expect("the file is there");
            let statement = format!("VACUUM INTO '{}'", file.display());
            connection.execute(AssertSqlSafe(statement)).await.expect("SQLite copies it");
            std::fs::copy(&file, restored.file()).expect("there is room");
        }
    }
    restored
}

async fn a_backup_under_load_is_whole_and_its_restore_is_told(backend: Backend) {
    let app = TestApp::start(backend).await;
    let scene = Arc::new(app.scene());
    let talk = scene.talk().await;
    let mut before = Vec::new();
    for number in 0..50 {
        before.push(scene.say(talk, &format!("before {number}")).await.id);
    }
    let writing = CancellationToken::new();
    let writer = tokio::spawn({
        let (scene, writing) = (Arc::clone(&scene), writing.clone());
        async move {
            let mut number = 0;
            while !writing.is_cancelled() {
                scene.say(talk, &format!("meanwhile {number}")).await;
                number += 1;
            }
        }
    });
    let restored = back_up_and_restore(&app.database, backend).await;
    writing.cancel();
    writer.await.expect("the writer does not panic");
    let held = log_info(&app.clients(), 1).await;
    drop(app);

    let mut command = program();
    command.args(["restored", "--database-url", &restored.url()]);
    let told = run_to_end(command).await;
    assert_eq!(told.code, Some(0), "{}", told.output);
    let app = TestApp::builder(backend).database(restored).start().await;
    let log = whole_log(&app.clients(), 1).await;
    let messages: Vec<i64> = log
        .iter()
        .filter_map(|delivery| match delivery.event.as_ref()?.resource.as_ref()? {
            parley::pb::event::Resource::Message(told) => Some(told.message.as_ref()?.id),
            _ => None,
        })
        .collect();
    assert!(
        before.iter().all(|id| messages.contains(id)),
        "what was acknowledged before the backup is in it"
    );
    let rows = "SELECT CAST(count(*) AS bigint) FROM messages";
    let rows = Database::number(&app.database.url(), rows).await;
    let mut told = messages.clone();
    told.sort_unstable();
    told.dedup();
    assert_eq!(
        usize::try_from(rows),
        Ok(told.len()),
        "no message without its event, and no event without its message"
    );
    let refused = Reader::refusal(&app.clients(), everything(1, Start::After(held.head_cursor))).await;
    assert_eq!(fault(&refused).reason, "EPOCH_CHANGED");
    app.scene().say(talk, "and on it goes").await;
}
