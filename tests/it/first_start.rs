//! The first start: nothing is created before the start can succeed, the token is printed once, and a lost token can be replaced.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use parley_proto::{GetProfileRequest, ListAccountsRequest, ListTokensRequest, RevokeTokenRequest};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use crate::support::{
    app::TestApp,
    clients::Clients,
    cluster::{Cluster, Durability},
    database::{Backend, Database, execute},
    fault::assert_refused,
    in_time, on_both,
    server::{Ended, program, run_to_end},
};

on_both!(
    configured_platform_token_is_created_on_any_start,
    lost_token_can_be_replaced_offline
);

/// Runs a command of the program in a folder, with listeners on free ports.
async fn run(home: &Path, arguments: &[&str], settings: &[(&str, String)]) -> Ended {
    let mut command = program();
    command.args(arguments).current_dir(home);
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    run_to_end(command).await
}

/// The error message, which `parley doctor` and the start share: the text after `parley: `.
fn sentence(ended: &Ended) -> &str {
    let mut lines = ended.output.lines().filter_map(|line| line.strip_prefix("parley: "));
    lines.next_back().unwrap_or_else(|| panic!("no sentence in: {}", ended.output))
}

/// For each setting that makes a start fail, the failed start leaves no database behind, and `parley doctor` reports the same error. The
/// start that succeeds then prints the token.
#[tokio::test]
async fn failed_start_loses_no_token() {
    let home = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let text = |text: &str| text.to_owned();
    for (settings, code, named) in [
        (vec![("PARLEY_GRPC_ADDR", taken.clone())], 71, "grpc.addr"),
        (vec![("PARLEY_HTTP_ADDR", taken.clone())], 71, "http.addr"),
        (vec![("PARLEY_ADMIN_ADDR", taken.clone())], 71, "admin.addr"),
        (
            vec![("PARLEY_TLS_CERT_FILE", text("nope")), ("PARLEY_TLS_KEY_FILE", text("nope"))],
            78,
            "tls.cert_file",
        ),
        (vec![("PARLEY_NATS_URL", text("nats://[nowhere"))], 78, "nats.url"),
        (vec![("PARLEY_FILES_URL", text("s3:///prefix"))], 78, "files.url"),
        (
            vec![
                ("PARLEY_MAIL_URL", text("smtp://127.0.0.1:1")),
                ("PARLEY_MAIL_FROM", text("nobody@")),
            ],
            78,
            "mail.from",
        ),
        (vec![("PARLEY_DATABASE_URL", text("sqlite://no/such/folder.db"))], 69, "no/such"),
    ] {
        let ended = run(home.path(), &["serve"], &settings).await;
        assert_eq!(ended.code, Some(code), "{settings:?}: {}", ended.output);
        let sentence = sentence(&ended);
        assert!(sentence.contains(named), "{settings:?}: {sentence}");
        assert!(!home.path().join("parley.db").exists(), "{settings:?} created a database");
        let doctor = run(home.path(), &["doctor"], &settings).await;
        assert_eq!(doctor.code, Some(1), "{settings:?}: {}", doctor.output);
        assert!(doctor.output.contains(sentence), "{sentence:?} is not in {}", doctor.output);
        assert!(
            !home.path().join("parley.db").exists(),
            "{settings:?}: the doctor created a database"
        );
    }
    let started = Started::run(home.path()).await;
    assert!(started.token().len() >= 24);
}

/// A server that was started from a shell, with its standard output in a file.
struct Started {
    child: Child,
    output: String,
}

impl Started {
    async fn run(home: &Path) -> Self {
        let file = home.join("stdout.txt");
        let mut command = program();
        command.arg("serve").current_dir(home).stdin(Stdio::null());
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
        }
        let child = command
            .stdout(File::create(&file).expect("the folder is ours"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut started = Self {
            child,
            output: String::new(),
        };
        in_time("the welcome", async {
            while !started.output.contains("parley tail") {
                tokio::time::sleep(Duration::from_millis(20)).await;
                started.output = std::fs::read_to_string(&file).expect("it is there");
            }
        })
        .await;
        started
    }

    fn token(&self) -> &str {
        let line = self
            .output
            .lines()
            .find_map(|line| line.trim().strip_prefix("export PARLEY_TOKEN="));
        line.unwrap_or_else(|| panic!("no token in {}", self.output))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Each kind of wrong database URL has an error message that says what to change and contains no password.
#[tokio::test]
async fn wrong_database_url_error_says_what_to_change() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(
        home.path().join("text.db"),
        "this is no database, and longer than a header of one ".repeat(40),
    )
    .expect("written");
    for (url, code, words) in [
        ("sqlite://no/such/folder.db", 69, ["the folder no/such does not exist", "create it"]),
        (
            "sqlite://missing.db?mode=rw",
            69,
            ["missing.db does not exist", "leave out the mode"],
        ),
        ("sqlite://text.db", 69, ["text.db is not a SQLite database", "name another file"]),
        ("mysql://localhost/x", 78, ["sqlite://", "postgres://"]),
        (
            "postgres://u:hunter2@127.0.0.1:1/x",
            69,
            ["127.0.0.1:1: connection refused", "is PostgreSQL running"],
        ),
        (
            "postgres://u:hunter2@nowhere.invalid/x",
            69,
            ["nowhere.invalid:5432", "host of database.url"],
        ),
    ] {
        let ended = run(home.path(), &["serve", "--database-url", url], &[]).await;
        assert_eq!(ended.code, Some(code), "{url}: {}", ended.output);
        for word in words {
            assert!(ended.output.contains(word), "{url}: {word:?} is not in {}", ended.output);
        }
        assert!(
            !ended.output.contains("hunter2") && !ended.output.contains("pool timed out"),
            "{}",
            ended.output
        );
    }
    // The database file is created by default.
    let ended = run(home.path(), &["migrate", "--database-url", "sqlite://new.db"], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(home.path().join("new.db").exists());
}

#[tokio::test]
async fn missing_database_is_named_on_postgres() {
    let database = Database::create(Backend::Postgres).await;
    let url = database.url();
    let (server, _) = url.rsplit_once('/').expect("a database in the URL");
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("{server}/no_such_database");
    let ended = run(home.path(), &["serve", "--database-url", &url], &[]).await;
    assert_eq!(ended.code, Some(69), "{}", ended.output);
    assert!(
        ended.output.contains("no_such_database") && ended.output.contains("create it"),
        "{}",
        ended.output
    );
}

/// A password that PostgreSQL refuses, and a user that it does not know.
#[tokio::test]
async fn wrong_password_error_says_what_to_change_on_postgres() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::None))
        .await
        .expect("it starts");
    let postgres = cluster.url("postgres");
    execute(&postgres, "CREATE ROLE ana LOGIN PASSWORD 'the-right-one'").await;
    let rules = "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n";
    std::fs::write(cluster.directory().join("data/pg_hba.conf"), rules).expect("ours");
    execute(&postgres, "SELECT pg_reload_conf()").await;
    let home = tempfile::tempdir().expect("a folder");
    let of = |user: &str, password: &str| postgres.replacen("postgres@", &format!("{user}:{password}@"), 1);
    // PostgreSQL reloads its rules asynchronously after the signal.
    in_time("the rules", async {
        while PgConnection::connect(&of("ana", "a-wrong-one")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for user in ["ana", "nobody"] {
        let ended = run(home.path(), &["serve", "--database-url", &of(user, "hunter2")], &[]).await;
        assert_eq!(ended.code, Some(69), "{}", ended.output);
        for word in [
            "password authentication failed",
            user,
            "correct the user or the password in database.url",
        ] {
            assert!(ended.output.contains(word), "{word:?} is not in {}", ended.output);
        }
        assert!(!ended.output.contains("hunter2"), "{}", ended.output);
        let doctor = run(home.path(), &["doctor", "--database-url", &of(user, "hunter2")], &[]).await;
        assert_eq!(doctor.code, Some(1), "{}", doctor.output);
        assert!(doctor.output.contains(sentence(&ended)), "{}", doctor.output);
    }
    let well = run(home.path(), &["doctor", "--database-url", &of("ana", "the-right-one")], &[]).await;
    assert!(!well.output.contains("password"), "{}", well.output);
}

/// Lists all accounts, which requires a platform token.
async fn accounts(clients: &Clients) -> Result<(), tonic::Status> {
    clients
        .accounts
        .clone()
        .list_accounts(ListAccountsRequest::default())
        .await
        .map(drop)
}

async fn configured_platform_token_is_created_on_any_start(backend: Backend) {
    let TestApp { server, database, .. } = TestApp::start(backend).await;
    drop(server);
    let app = TestApp::builder(backend).database(database).platform().start().await;
    accounts(&app.platform()).await.expect("the configured token is valid");
    assert!(app.server.log().contains("created the platform token"), "{}", app.server.log());
    let list = ListTokensRequest::default();
    let tokens = app.platform().accounts.list_tokens(list).await.expect("listed").into_inner().tokens;
    let newest = tokens.first().expect("it is there").id;
    let revoke = RevokeTokenRequest {
        token_id: newest,
        ..RevokeTokenRequest::default()
    };
    app.platform().accounts.revoke_token(revoke).await.expect("revoked");
    let TestApp { server, database, .. } = app;
    drop(server);
    // A revoked token stays revoked, and the log says that the setting is ignored.
    let app = TestApp::builder(backend)
        .database(database)
        .platform()
        .env("PARLEY_BOOTSTRAP_TOKEN", "a-token-that-comes-too-late")
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "too-late")
        .start()
        .await;
    assert_refused(accounts(&app.platform()).await, Code::Unauthenticated, "TOKEN_INVALID");
    for setting in ["bootstrap.platform_token", "bootstrap.token", "bootstrap.inbox_identifier"] {
        let named = app
            .server
            .log()
            .lines()
            .filter(|line| line.contains("ignoring the configured") && line.contains(setting))
            .count();
        assert_eq!(named, 1, "{setting}: {}", app.server.log());
    }
}

async fn lost_token_can_be_replaced_offline(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let url = [("PARLEY_DATABASE_URL", app.database.url())];
    let home = tempfile::tempdir().expect("a folder");
    let create = async |kind: &str| {
        run(
            home.path(),
            &["token", "create", "--offline", "--kind", kind, "--name", "recovered"],
            &url,
        )
        .await
    };
    if backend == Backend::Sqlite {
        let refused = create("user").await;
        assert_eq!(refused.code, Some(73), "{}", refused.output);
        assert!(refused.output.contains("stop it"), "{}", refused.output);
    }
    app.server.terminate();
    app.server.wait().await;
    let mut secrets = Vec::new();
    for kind in ["user", "platform"] {
        let made = create(kind).await;
        assert_eq!(made.code, Some(0), "{}", made.output);
        secrets.push(made.output.lines().next().expect("the secret alone on standard output").to_owned());
    }
    let unknown = run(home.path(), &["token", "create", "--offline", "--account", "99"], &url).await;
    assert_eq!(unknown.code, Some(2), "{}", unknown.output);
    assert!(unknown.output.contains("--account must be an account"), "{}", unknown.output);
    app.start_again().await;
    let mut administrator = app.clients_with(&secrets[0]).accounts;
    let profile = administrator
        .get_profile(GetProfileRequest {})
        .await
        .expect("the administrator's")
        .into_inner();
    assert_eq!(profile.user.expect("always set").id, 1);
    accounts(&app.clients_with(&secrets[1])).await.expect("the operator's");
    // Without a database, nothing is created.
    let missing = run(home.path(), &["token", "create", "--offline", "--kind", "user"], &[]).await;
    assert_eq!(missing.code, Some(69), "{}", missing.output);
    assert!(!home.path().join("parley.db").exists());
}

/// Commands that need an existing database do not create one, and `parley doctor` says that a start would create it.
#[tokio::test]
async fn database_commands_create_no_database() {
    let home = tempfile::tempdir().expect("a folder");
    let database = || -> Vec<String> {
        let names = std::fs::read_dir(home.path()).expect("the folder is ours");
        let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("parley.db")).collect()
    };
    for command in ["restored", "rotate-link-key"] {
        let ended = run(home.path(), &[command], &[]).await;
        assert_eq!(ended.code, Some(69), "{command}: {}", ended.output);
        assert!(ended.output.contains("parley.db does not exist"), "{command}: {}", ended.output);
        assert_eq!(database(), [""; 0], "{command}");
    }
    let doctor = run(home.path(), &["doctor"], &[]).await;
    assert_eq!(doctor.code, Some(0), "{}", doctor.output);
    assert!(doctor.output.contains("the first start creates the file"), "{}", doctor.output);
    assert_eq!(database(), [""; 0], "the doctor");
    // With `mode=rw` a start would not create the database, so it counts as missing.
    let existing = [("PARLEY_DATABASE_URL", "sqlite://parley.db?mode=rw".to_owned())];
    let doctor = run(home.path(), &["doctor"], &existing).await;
    assert_eq!(doctor.code, Some(1), "{}", doctor.output);
    assert!(doctor.output.contains("parley.db does not exist"), "{}", doctor.output);
    assert_eq!(database(), [""; 0], "the doctor");
    let migrated = run(home.path(), &["migrate"], &[]).await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.output);
    let doctor = run(home.path(), &["doctor"], &[]).await;
    assert!(doctor.output.contains("its schema is that of this version"), "{}", doctor.output);
}

/// A port that a Parley listens on is fine; a port that another program uses is an error.
#[tokio::test]
async fn doctor_identifies_the_program_on_a_port() {
    let app = TestApp::start(Backend::Sqlite).await;
    let listeners = &app.server.listeners;
    let settings = [
        ("PARLEY_DATABASE_URL", app.database.url()),
        ("PARLEY_GRPC_ADDR", listeners.grpc.clone()),
        ("PARLEY_HTTP_ADDR", listeners.http.clone()),
        ("PARLEY_ADMIN_ADDR", listeners.admin.clone()),
    ];
    let home = tempfile::tempdir().expect("a folder");
    let well = run(home.path(), &["doctor"], &settings).await;
    assert_eq!(well.code, Some(0), "{}", well.output);
    assert_eq!(
        well.output.matches("a Parley server already listens at").count(),
        3,
        "{}",
        well.output
    );
    // The port of a different listener is an error.
    let mixed = [settings[0].clone(), ("PARLEY_HTTP_ADDR", listeners.admin.clone())];
    let ill = run(home.path(), &["doctor"], &mixed).await;
    assert_eq!(ill.code, Some(1), "{}", ill.output);
    assert!(ill.output.contains("FAIL  http"), "{}", ill.output);
}
