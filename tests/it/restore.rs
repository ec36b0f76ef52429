//! What `parley restore` leaves behind when it fails, and who else may access the database during a restore.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::{
    backup::{done, messages_of},
    files::{upload, with_uploads},
    support::{
        app::TestApp,
        database::{Backend, Database, execute},
        in_time, on_both,
        server::{Ended, program, run_to_end},
    },
};

on_both!(
    damaged_files_are_omitted_from_a_backup,
    backup_with_other_migrations_is_refused,
    failed_restore_removes_what_it_created,
    interrupted_restore_removes_what_it_created,
    restore_leaves_identical_files_in_place
);

/// A server with one message per content, each with a file of that content.
async fn server_with_files(backend: Backend, contents: &[&[u8]]) -> TestApp {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    for content in contents {
        let file = upload(&app.clients(), "a file.bin", content).await;
        let sent = fixture.send(talk, with_uploads(&[&file.upload_id])).await;
        sent.expect("a message with a file");
    }
    app
}

/// A command on a database and a folder of files.
fn command(args: &[&str], database: &Database, files: &Path) -> Command {
    let mut command = program();
    let files = format!("files.url=file:{}", files.display());
    command.args(args).args(["--database-url", &database.url(), "--set", &files]);
    command
}

/// Backs up a server to a file in `folder`.
async fn back_up(app: &TestApp, folder: &Path) -> PathBuf {
    let archive = folder.join("backup.tar");
    let files = app.home().join("files");
    done(&run_to_end(command(&["backup", &archive.display().to_string()], &app.database, &files)).await);
    archive
}

async fn restore(archive: &Path, force: bool, database: &Database, files: &Path) -> Ended {
    if !force {
        until_free(database).await;
    }
    let archive = archive.display().to_string();
    let mut args = vec!["restore", &archive];
    args.extend(force.then_some("--force"));
    run_to_end(command(&args, database, files)).await
}

/// The files below a folder with their contents.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("ours").path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            let bytes = fs::read(&path).expect("ours");
            found.insert(path, bytes);
        }
    }
    found
}

async fn damaged_files_are_omitted_from_a_backup(backend: Backend) {
    let contents: [&[u8]; 3] = [b"whole, and so in the backup", b"this one grows", b"and this one shrinks"];
    let app = server_with_files(backend, &contents).await;
    let files = app.home().join("files");
    for (path, bytes) in tree(&files) {
        if bytes == contents[1] {
            fs::write(path, [contents[1], b"!"].concat()).expect("ours");
        } else if bytes == contents[2] {
            fs::write(path, &contents[2][1..]).expect("ours");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("backup.tar");
    let ended = run_to_end(command(&["backup", &archive.display().to_string()], &app.database, &files)).await;
    done(&ended);
    assert!(ended.output.contains("the database and 1 files"), "{}", ended.output);
    assert!(ended.output.contains("2 files of messages were damaged"), "{}", ended.output);
    let (database, elsewhere) = (Database::create(backend).await, folder.path().join("elsewhere"));
    let ended = restore(&archive, false, &database, &elsewhere).await;
    done(&ended);
    assert!(ended.output.contains("2 files of messages were damaged"), "{}", ended.output);
    assert_eq!(tree(&elsewhere).into_values().collect::<Vec<_>>(), [contents[0]]);
    assert_eq!(messages_of(&database).await, 3);
}

/// A copy of an archive with a different content of one entry.
fn changed(archive: &Path, name: &str, mut change: impl FnMut(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let mut source = tar::Archive::new(fs::File::open(archive).expect("ours"));
    let target = archive.with_extension("changed");
    let mut changed = tar::Builder::new(fs::File::create(&target).expect("there is room"));
    for entry in source.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a name").into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("ours");
        if path == Path::new(name) {
            bytes = change(bytes);
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        changed.append_data(&mut header, &path, &bytes[..]).expect("there is room");
    }
    changed.finish().expect("there is room");
    target
}

/// A copy of an archive whose manifest lists other migrations.
fn with_migrations(archive: &Path, change: impl Fn(&mut Vec<Value>)) -> PathBuf {
    changed(archive, "manifest.json", |bytes| {
        let mut manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
        change(manifest["database"]["migrations"].as_array_mut().expect("a list"));
        serde_json::to_vec(&manifest).expect("JSON")
    })
}

async fn backup_with_other_migrations_is_refused(backend: Backend) {
    let app = server_with_files(backend, &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let (database, files) = (Database::create(backend).await, folder.path().join("files"));
    let newer = with_migrations(&archive, |migrations| migrations.push("m20990101_000999_later".into()));
    let ended = restore(&newer, false, &database, &files).await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(
        ended
            .output
            .contains("is newer than this version of Parley (it has the migration m20990101_000999_later)"),
        "{}",
        ended.output
    );
    // As many migrations as a prefix has, but different ones.
    let forked = with_migrations(&archive, |migrations| {
        migrations.remove(2);
    });
    let ended = restore(&forked, false, &database, &files).await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("from another line of versions"), "{}", ended.output);
    if backend == Backend::Postgres {
        let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace";
        assert_eq!(Database::number(&database.url(), tables).await, 0, "nothing was created");
        done(&run_to_end(command(&["migrate"], &database, &files)).await);
        execute(
            &database.url(),
            "DELETE FROM seaql_migrations WHERE version = (SELECT version FROM seaql_migrations ORDER BY version OFFSET 2 LIMIT 1)",
        )
        .await;
        let ended = restore(&archive, false, &database, &files).await;
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains("the database lacks the migration"), "{}", ended.output);
    } else {
        assert!(!database.file().exists());
        // What counts is the migrations in the archived database itself.
        drop(app);
        let other = folder.path().join("other.db");
        changed(&archive, "database/parley.db", |bytes| {
            fs::write(&other, &bytes).expect("there is room");
            bytes
        });
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", other.display()))
            .await
            .expect("a database");
        let forget = "DELETE FROM seaql_migrations WHERE version LIKE '%000003%'";
        connection.execute(forget).await.expect("changed");
        connection.close().await.expect("closed");
        let forked = changed(&archive, "database/parley.db", |_| fs::read(&other).expect("ours"));
        let ended = restore(&forked, false, &database, &files).await;
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains("from another line of versions"), "{}", ended.output);
        assert!(!database.file().exists());
    }
    assert!(!files.exists());
}

/// The size of an archive after its last file, in bytes: the entry that marks it as complete, and the end of a tar file.
const END: usize = 2048;

async fn failed_restore_removes_what_it_created(backend: Backend) {
    let app = server_with_files(backend, &[b"the first file", &vec![7; 300_000]]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let of_server = tree(&app.home().join("files"));
    let whole = fs::read(&archive).expect("ours");
    let damaged = folder.path().join("damaged.tar");
    // Truncated within the last file, and right after it.
    for length in [whole.len() - END - 1000, whole.len() - END] {
        fs::write(&damaged, &whole[..length]).expect("there is room");
        let (database, files) = (Database::create(backend).await, folder.path().join("not/there/yet"));
        let ended = restore(&damaged, false, &database, &files).await;
        assert_eq!(ended.code, Some(65), "{length}: {}", ended.output);
        assert!(!folder.path().join("not").exists(), "{length}: {:?}", tree(folder.path()).keys());
        if backend == Backend::Sqlite {
            let left = tree(database.file().parent().expect("a folder"));
            let names: Vec<_> = left.keys().filter_map(|path| path.file_name()?.to_str()).collect();
            assert_eq!(names, ["parley.db.lock"], "{length}");
        }
        // Existing files stay, even those with the names of restored files.
        let files = folder.path().join("files");
        let there: BTreeMap<PathBuf, Vec<u8>> = of_server
            .keys()
            .map(|path| {
                let name = path.strip_prefix(app.home().join("files")).expect("a file of the server");
                (files.join(name), b"there before".to_vec())
            })
            .collect();
        for (path, bytes) in &there {
            fs::create_dir_all(path.parent().expect("a folder")).expect("there is room");
            fs::write(path, bytes).expect("there is room");
        }
        let ended = restore(&damaged, false, &database, &files).await;
        assert_eq!(ended.code, Some(65), "{length}: {}", ended.output);
        assert_eq!(tree(&files), there, "{length}");
        // A successful restore replaces them.
        done(&restore(&archive, false, &database, &files).await);
        let restored: Vec<Vec<u8>> = tree(&files).into_values().collect();
        assert_eq!(restored, of_server.values().cloned().collect::<Vec<_>>(), "{length}");
        assert_eq!(messages_of(&database).await, 2, "{length}");
        fs::remove_dir_all(&files).expect("ours");
    }
}

/// A file that the store already has with the same content is not copied again. One that differs is, wherever it differs.
async fn restore_leaves_identical_files_in_place(backend: Backend) {
    let app = server_with_files(backend, &[b"small", &vec![7; 300_000], &vec![8; 1_000_000]]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let (database, files) = (Database::create(backend).await, folder.path().join("files"));
    done(&restore(&archive, false, &database, &files).await);
    let before = tree(&files);
    let inode = |path: &PathBuf| fs::metadata(path).expect("it is there").ino();
    let inodes: BTreeMap<_, _> = before.keys().map(|path| (path.clone(), inode(path))).collect();
    let (largest, bytes) = before.iter().max_by_key(|(_, bytes)| bytes.len()).expect("three files");
    let mut other = bytes.clone();
    *other.last_mut().expect("it is not empty") = 9;
    fs::write(largest, other).expect("there is room");
    done(&restore(&archive, true, &database, &files).await);
    assert_eq!(tree(&files), before);
    let replaced: Vec<_> = inodes
        .iter()
        .filter(|(path, before)| inode(path) != **before)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(replaced, [largest]);
}

/// A restore that reads its archive from a pipe, which the test fills.
struct Piped {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Piped {
    async fn start(args: &[&str], database: &Database, files: &Path) -> Self {
        until_free(database).await;
        let mut command = command(args, database, files);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let pipe = child.stdin.take();
        Self { child, pipe }
    }

    async fn feed(&mut self, bytes: &[u8]) {
        let (mut pipe, bytes) = (self.pipe.take().expect("it is open"), bytes.to_vec());
        let fed = tokio::task::spawn_blocking(move || {
            pipe.write_all(&bytes).expect("it reads");
            pipe
        });
        self.pipe = Some(in_time("the restore", fed).await.expect("no panic"));
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// Waits for the restore to exit. The pipe stays open until then if `is_open`.
    async fn end(self, is_open: bool) -> Ended {
        let Self { child, pipe } = self;
        let pipe = pipe.filter(|_| is_open);
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output = in_time("the end of the restore", ended).await.expect("no panic").expect("it ran");
        drop(pipe);
        Ended {
            code: output.status.code(),
            output: [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat(),
        }
    }
}

async fn interrupted_restore_removes_what_it_created(backend: Backend) {
    let app = server_with_files(backend, &[b"the first file", b"the second file"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let whole = fs::read(&archive).expect("ours");
    let (database, files) = (Database::create(backend).await, folder.path().join("files"));
    let mut restoring = Piped::start(&["restore", "-"], &database, &files).await;
    restoring.feed(&whole[..whole.len() - END]).await;
    in_time("a restored file", async {
        while tree(&files).len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    restoring.terminate();
    // It does not wait for the rest of the archive.
    let ended = restoring.end(true).await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("nothing was changed"), "{}", ended.output);
    assert!(!files.exists(), "{:?}", tree(&files).keys());
    if backend == Backend::Sqlite {
        assert!(!database.file().exists());
    }
    // The complete archive through a pipe.
    let mut restoring = Piped::start(&["restore", "-"], &database, &files).await;
    restoring.feed(&whole).await;
    done(&restoring.end(false).await);
    assert_eq!((messages_of(&database).await, tree(&files).len()), (2, 2));
}

/// The URL prefix of databases in the same cluster, and the name of this database.
fn cluster(database: &Database) -> (String, String) {
    let url = database.url();
    let (server, rest) = url.rsplit_once('/').expect("a database in the URL");
    let name = rest.split('?').next().unwrap_or_default();
    (
        url.replacen(&format!("{server}/{name}"), &format!("{server}/postgres"), 1),
        name.to_owned(),
    )
}

/// Waits until the connections of earlier commands have disappeared from PostgreSQL's list, which happens shortly after the commands exit.
async fn until_free(database: &Database) {
    let Database::Postgres { .. } = database else { return };
    let (elsewhere, name) = cluster(database);
    let query: &'static str = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'").leak();
    in_time("the end of all connections", async {
        while Database::number(&elsewhere, query).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Waits until the locks of a database satisfy a condition on `pg_locks`. Uses a connection to another database, because one to this
/// database would count as a user.
async fn until_locks(database: &Database, condition: &str) {
    let (elsewhere, name) = cluster(database);
    let query =
        format!("SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = '{name}') AND {condition}");
    let mut connection = PgConnection::connect(&elsewhere).await.expect("the cluster is there");
    in_time(condition, async {
        loop {
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(query.clone()))
                .fetch_one(&mut connection)
                .await
                .expect("an answer");
            if count > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The locks of a restore after its second check of the database: it has disabled triggers, and holds the advisory lock of servers that
/// fill an empty database (the lower half of its number).
const LOADING: &str = "mode = 'ShareRowExclusiveLock' AND granted
    AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1919706488)";

/// During a restore, another one is refused even with `--force`, and a server that starts waits for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_excludes_other_programs_on_postgres() {
    let app = server_with_files(Backend::Postgres, &[b"a file", b"another"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let whole = fs::read(&archive).expect("ours");
    let (database, files) = (Database::create(Backend::Postgres).await, folder.path().join("files"));
    let mut restoring = Piped::start(&["restore", "-"], &database, &files).await;
    restoring.feed(&whole[..whole.len() - END]).await;
    until_locks(&database, LOADING).await;
    let second = restore(&archive, true, &database, &folder.path().join("of the second")).await;
    assert_eq!(second.code, Some(1), "{}", second.output);
    assert!(second.output.contains("restoring a backup into it"), "{}", second.output);
    let url = database.url();
    let starting = tokio::spawn(async move { TestApp::builder(Backend::Postgres).database(Database::at(url)).start().await });
    // The server has tried to take the lock that the restore holds, and retries until it succeeds.
    in_time("a server that waits for the restore", async {
        let (elsewhere, name) = cluster(&database);
        let query = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name NOT LIKE 'parley restore%'
                AND query LIKE '%pg_try_advisory_lock%' AND state = 'idle'"
        );
        let query: &'static str = query.leak();
        while Database::number(&elsewhere, query).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    restoring.feed(&whole[whole.len() - END..]).await;
    done(&restoring.end(false).await);
    let served = in_time("the start of the server", starting).await.expect("it starts");
    assert_eq!(messages_of(&served.database).await, 2);
    // The server serves the restored data, and has not filled the database itself.
    let accounts = Database::number(&served.database.url(), "SELECT count(*) FROM accounts").await;
    assert_eq!(accounts, 1);
}

/// A restore waits for connections that are closing when it begins, such as those of a command that has just exited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_waits_for_closing_connections_on_postgres() {
    let app = server_with_files(Backend::Postgres, &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let (database, files) = (Database::create(Backend::Postgres).await, folder.path().join("files"));
    for stays in [true, false] {
        let other = PgConnection::connect(&database.url()).await.expect("a connection of another");
        let archive = archive.display().to_string();
        let restoring = tokio::spawn(run_to_end(command(&["restore", &archive], &database, &files)));
        in_time("a restore that has looked at the database", async {
            let (elsewhere, name) = cluster(&database);
            // The query that a check runs after it has counted connections.
            let query = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name LIKE 'parley restore%' AND query LIKE '%to_regclass%'"
            );
            let query: &'static str = query.leak();
            while Database::number(&elsewhere, query).await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        if stays {
            let ended = in_time("the end of the restore", restoring).await.expect("no panic");
            assert_eq!(ended.code, Some(1), "{}", ended.output);
            assert!(
                ended.output.contains("1 other connections to the database are open"),
                "{}",
                ended.output
            );
            other.close().await.expect("closed");
        } else {
            other.close().await.expect("closed");
            done(&in_time("the end of the restore", restoring).await.expect("no panic"));
        }
    }
    assert_eq!(messages_of(&database).await, 0);
}

/// A connection that opens between the first check of the database and the locks on its tables is found by the second check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_checks_again_after_locking_on_postgres() {
    let app = server_with_files(Backend::Postgres, &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = back_up(&app, folder.path()).await;
    let files = folder.path().join("files");
    for (is_on, switch) in [(true, ""), (false, "restore_locks")] {
        let database = Database::create(Backend::Postgres).await;
        done(&run_to_end(command(&["migrate"], &database, &files)).await);
        until_free(&database).await;
        // Another user delays the locks, because its connections are not counted.
        let role = format!("another_{}_{is_on}", std::process::id());
        let (elsewhere, _) = cluster(&database);
        execute(&elsewhere, &format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'of-another'")).await;
        let options: sqlx::postgres::PgConnectOptions = database.url().parse().expect("a URL");
        let options = options.username(&role).password("of-another");
        let mut other = PgConnection::connect_with(&options).await.expect("the role may connect");
        let lock = "BEGIN; LOCK TABLE accounts IN ROW EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut other).await.expect("the table is free");
        let archive = archive.display().to_string();
        let mut restoring = command(&["restore", &archive], &database, &files);
        restoring.env("PARLEY_FAULT_SWITCH", switch);
        let restoring = tokio::spawn(run_to_end(restoring));
        until_locks(&database, "locktype = 'relation' AND NOT granted").await;
        let server = PgConnection::connect(&database.url()).await.expect("a connection as of a server");
        other.execute("ROLLBACK").await.expect("it ends");
        let ended = in_time("the end of the restore", restoring).await.expect("no panic");
        assert_eq!(ended.code, Some(i32::from(is_on)), "{}", ended.output);
        assert_eq!(
            ended.output.contains("1 other connections to the database are open"),
            is_on,
            "{}",
            ended.output
        );
        drop(server);
        other.close().await.expect("closed");
        execute(&elsewhere, &format!("DROP ROLE {role}")).await;
    }
}
