//! The procedures of docs/backup.md: a backup is made during writes and restored elsewhere, and cursors from before are refused. Covers the
//! program's own commands and the tools of the databases.

use std::{path::Path, process::Command, sync::Arc};

use parley_proto::subscribe_request::Start;
use tokio_util::sync::CancellationToken;

use crate::files::{download, upload, with_uploads};
use crate::support::{
    app::TestApp,
    cluster::client_program,
    database::{Backend, Database, execute},
    fault::fault,
    on_both,
    reader::{Reader, everything, log_info, whole_log},
    server::{Ended, program, run_to_end},
};

on_both!(
    backup_under_load_restores_and_changes_the_epoch,
    archive_taken_under_load_restores_with_its_files,
    restore_refuses_a_database_in_use_or_with_data,
    restore_of_a_damaged_archive_changes_nothing
);

async fn run(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("no panic")
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The database URL in the form that PostgreSQL's own tools accept.
fn plain(database: &Database) -> String {
    let url = database.url();
    url.split('?').next().unwrap_or_default().to_owned()
}

/// Backs up a database with the database's own tools, as documented, and restores it into an empty one.
pub async fn back_up_and_restore(database: &Database, backend: Backend) -> Database {
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
            // The system's program, which may be much older than the library in this binary. `./test` installs it.
            let mut sqlite = Command::new("sqlite3");
            sqlite.arg(database.file()).arg(format!("VACUUM INTO '{}'", file.display()));
            run(sqlite).await;
            let mut check = Command::new("sqlite3");
            check
                .arg(&file)
                .arg("PRAGMA integrity_check; SELECT count(*) FROM contact_pieces; PRAGMA foreign_key_check;");
            run(check).await;
            std::fs::copy(&file, restored.file()).expect("there is room");
        }
    }
    restored
}

async fn backup_under_load_restores_and_changes_the_epoch(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = Arc::new(app.fixture());
    let talk = fixture.talk().await;
    let mut before = Vec::new();
    for number in 0..50 {
        before.push(fixture.say(talk, &format!("before {number}")).await.id);
    }
    let writing = CancellationToken::new();
    let writer = tokio::spawn({
        let (fixture, writing) = (Arc::clone(&fixture), writing.clone());
        async move {
            let mut number = 0;
            while !writing.is_cancelled() {
                fixture.say(talk, &format!("meanwhile {number}")).await;
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
            parley_proto::event::Resource::Message(told) => Some(told.message.as_ref()?.id),
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
    app.fixture().say(talk, "and on it goes").await;
}

/// Runs a command of the program on a database, with files in a folder.
async fn command(args: &[&str], database: &Database, files: &Path) -> Ended {
    let mut command = program();
    let files = format!("files.url=file:{}", files.display());
    command.args(args).args(["--database-url", &database.url(), "--set", &files]);
    run_to_end(command).await
}

pub fn done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

/// The number of messages in a database.
pub async fn messages_of(database: &Database) -> i64 {
    Database::number(&database.url(), "SELECT CAST(count(*) AS bigint) FROM messages").await
}

async fn archive_taken_under_load_restores_with_its_files(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = Arc::new(app.fixture());
    let talk = fixture.talk().await;
    let content: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let file = upload(&app.clients(), "a file.bin", &content).await;
    let sent = fixture
        .send(talk, with_uploads(&[&file.upload_id]))
        .await
        .expect("a message with a file");
    let link = sent.message.expect("always set").attachments[0].data_url.clone();
    let mut before = Vec::new();
    for number in 0..30 {
        before.push(fixture.say(talk, &format!("before {number}")).await.id);
    }
    let writing = CancellationToken::new();
    let writer = tokio::spawn({
        let (fixture, writing) = (Arc::clone(&fixture), writing.clone());
        async move {
            let mut number = 0;
            while !writing.is_cancelled() {
                fixture.say(talk, &format!("meanwhile {number}")).await;
                number += 1;
            }
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("backup.tar").display().to_string();
    let files = app.home().join("files");
    // Twice to the same name: the second backup replaces the first.
    for _ in 0..2 {
        done(&command(&["backup", &archive], &app.database, &files).await);
    }
    writing.cancel();
    writer.await.expect("the writer does not panic");
    let held = log_info(&app.clients(), 1).await;
    drop(app);

    let (restored, elsewhere) = (Database::create(backend).await, folder.path().join("restored"));
    done(&command(&["restore", &archive], &restored, &elsewhere).await);
    let files = format!("file:{}", elsewhere.display());
    let app = TestApp::builder(backend)
        .database(restored)
        .env("PARLEY_FILES_URL", &files)
        .start()
        .await;
    let messages = messages_of(&app.database).await;
    assert!(messages > 30, "{messages}");
    for id in before {
        let query = format!("SELECT CAST(count(*) AS bigint) FROM messages WHERE id = {id}");
        assert_eq!(Database::number(&app.database.url(), query.leak()).await, 1);
    }
    let (_, bytes) = download(&app.clients(), &link, 0, 0).await.expect("the file came along");
    assert!(bytes == content, "it is what was uploaded");
    let refused = Reader::refusal(&app.clients(), everything(1, Start::After(held.head_cursor))).await;
    assert_eq!(fault(&refused).reason, "EPOCH_CHANGED");
    // Ids and sequence numbers continue.
    let fixture = app.fixture();
    fixture.say(talk, "and on it goes").await;
    fixture.talk().await;
    upload(&app.clients(), "another", b"file").await;
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("ours").count(),
        2,
        "nothing else is left behind"
    );
}

/// The number of tables in a copy of a PostgreSQL database, without the list of migrations.
const OWN_TABLES: i64 = 43;

async fn restore_refuses_a_database_in_use_or_with_data(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("backup.tar").display().to_string();
    let files = folder.path().join("files");
    done(&command(&["backup", &archive], &app.database, &files).await);
    fixture.say(talk, "after the backup").await;
    let in_use = command(&["restore", &archive], &app.database, &files).await;
    let code = if backend == Backend::Sqlite { 73 } else { 1 };
    assert_eq!(in_use.code, Some(code), "{}", in_use.output);
    fixture.say(talk, "the server is none the worse").await;
    app.server.terminate();
    assert!(app.server.wait().await.success());
    let holds = command(&["restore", &archive], &app.database, &files).await;
    assert_eq!(holds.code, Some(1), "{}", holds.output);
    assert!(holds.output.contains("--force"), "{}", holds.output);
    assert_eq!(messages_of(&app.database).await, 2);
    if backend == Backend::Postgres {
        execute(
            &app.database.url(),
            "CREATE TABLE somebody_elses (id bigint); INSERT INTO somebody_elses VALUES (1)",
        )
        .await;
    }
    done(&command(&["restore", "--force", &archive], &app.database, &files).await);
    assert_eq!(messages_of(&app.database).await, 0);
    if backend == Backend::Postgres {
        let url = app.database.url();
        let count = |query| Database::number(&url, query);
        assert_eq!(count("SELECT count(*) FROM somebody_elses").await, 1, "it is none of ours");
        let tables = count("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace").await;
        assert_eq!(
            tables,
            OWN_TABLES + 2,
            "a new table has to be named in crates/storage/src/copy/postgres.rs"
        );
    }
    app.start_again().await;
    app.fixture().say(talk, "as it was when it was backed up").await;
}

async fn restore_of_a_damaged_archive_changes_nothing(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.say(talk, "kept").await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("backup.tar");
    let files = folder.path().join("files");
    done(&command(&["backup", &archive.display().to_string()], &app.database, &files).await);
    app.server.terminate();
    assert!(app.server.wait().await.success());
    let whole = std::fs::read(&archive).expect("ours");
    for length in [0, 100, 2000, whole.len() / 2, whole.len() - 3000] {
        let damaged = folder.path().join("damaged.tar");
        std::fs::write(&damaged, &whole[..length]).expect("there is room");
        let ended = command(&["restore", "--force", &damaged.display().to_string()], &app.database, &files).await;
        assert_eq!(ended.code, Some(65), "{length}: {}", ended.output);
        assert_eq!(messages_of(&app.database).await, 1, "{length} of {}", whole.len());
    }
    app.start_again().await;
    app.fixture().say(talk, "and goes on").await;
}
