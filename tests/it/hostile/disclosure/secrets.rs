//! No secret, configured or generated, appears in what the program prints, logs or exports, or in the list of processes.

use std::{
    fs::File,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use parley_proto::{
    CreateLoginLinkRequest, CreateTokenRequest, GetInboxRequest, TokenKind, inbox::Channel, logins_service_client::LoginsServiceClient,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

use crate::{
    support::{
        api_fixture::incoming,
        app::{ADMINISTRATOR, PLATFORM, TestApp},
        clients::Clients,
        database::Backend,
        http::client,
        in_time,
        server::{limited, program, run_to_end},
    },
    telemetry::collector::Collector,
};

/// The mail server's password. The test sends no email.
const MAIL_PASSWORD: &str = "the-password-of-the-mail-server";

/// A token that was never created.
const UNKNOWN: &str = "a-token-that-is-not-known-here-1";

/// Fails if a text contains one of the secrets.
#[track_caller]
fn assert_none(secrets: &[(&str, String)], place: &str, text: &str) {
    for (name, secret) in secrets {
        assert!(secret.len() >= 16, "{name} is too short to be searched for: {secret:?}");
        assert!(!text.contains(secret.as_str()), "{name} is in {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_appear_in_no_output_export_or_process_list() {
    let (collector, collector_url) = Collector::start().await;
    let mut app = TestApp::builder(Backend::Sqlite)
        .program(limited("exec >stdout.txt"))
        .platform()
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env(
            "PARLEY_LOG_FILTER",
            "trace,h2=info,hyper=info,hyper_util=info,tower=info,sqlx=info,sea_orm=info,reqwest=info",
        )
        .env("PARLEY_MAIL_URL", &format!("smtp://ana:{MAIL_PASSWORD}@127.0.0.1:1"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector_url)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .start()
        .await;
    let secrets = use_every_secret(&app).await;
    let metrics = client().get(format!("http://{}/metrics", app.server.listeners.admin));
    let metrics = metrics.send().await.expect("metrics").text().await.expect("text");
    let process = format!("/proc/{}", app.server.id());
    let command_line = std::fs::read(format!("{process}/cmdline")).expect("it runs");
    app.server.terminate();
    assert!(app.server.wait().await.success());

    let stdout = std::fs::read_to_string(app.home().join("stdout.txt")).expect("standard output went there");
    assert_none(&secrets, "standard output", &stdout);
    assert_none(&secrets, "the log", &app.server.log());
    assert_none(&secrets, "/metrics", &metrics);
    assert_none(&secrets, "the list of processes", &String::from_utf8_lossy(&command_line));
    let exported = collector.look(|collected| {
        assert!(
            !collected.logs.is_empty() && !collected.traces.is_empty(),
            "logs and traces are exported"
        );
        format!("{collected:?}")
    });
    assert_none(&secrets, "what a collector was sent", &exported);
    // The searched outputs do contain what happened.
    assert!(app.server.log().contains("CreateMessage") && exported.contains("CreateMessage"));
}

/// Makes the server create, accept and refuse every kind of secret. Returns the secrets.
async fn use_every_secret(app: &TestApp) -> Vec<(&'static str, String)> {
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let talk = fixture.conversation(&person).await.id;
    fixture.sent(talk, incoming("hello")).await;
    let clients = app.clients();
    let create = CreateTokenRequest {
        account_id: Some(1),
        kind: TokenKind::Service.into(),
        name: "importer".to_owned(),
        ..CreateTokenRequest::default()
    };
    let service = clients
        .accounts
        .clone()
        .create_token(create)
        .await
        .expect("made")
        .into_inner()
        .secret;
    Clients::new(&app.server.listeners.grpc, Some(&service))
        .inboxes
        .get_inbox(GetInboxRequest {
            account_id: 1,
            inbox_id: 1,
        })
        .await
        .expect("the new token is good");
    let inbox = clients
        .inboxes
        .clone()
        .get_inbox(GetInboxRequest {
            account_id: 1,
            inbox_id: 1,
        })
        .await
        .expect("it is there")
        .into_inner()
        .inbox
        .expect("always set");
    let Some(Channel::ApiChannel(channel)) = inbox.channel else {
        panic!("an API channel")
    };
    let profile = app.http().send("GET", "/api/v1/profile", None).await.body;
    let link = LoginsServiceClient::new(app.platform().service)
        .create_login_link(CreateLoginLinkRequest {
            user_id: 1,
            ..CreateLoginLinkRequest::default()
        })
        .await;
    // Refused, with the secret in a header, a query and a body.
    assert!(
        app.clients_with(UNKNOWN)
            .inboxes
            .get_inbox(GetInboxRequest {
                account_id: 1,
                inbox_id: 1
            })
            .await
            .is_err()
    );
    let refused = app.http().with_token(UNKNOWN).send("GET", "/api/v1/accounts/1/inboxes", None).await;
    assert_eq!(refused.status, 401);
    let session = app.http().with_token("");
    let made = session
        .send("POST", "/public/api/v1/inboxes/inbox-a/contacts", Some(&json!({"name": "Ben"})))
        .await
        .body;
    let mut secrets = vec![
        ("the administrator's token", ADMINISTRATOR.to_owned()),
        ("the platform token", PLATFORM.to_owned()),
        ("the mail server's password", MAIL_PASSWORD.to_owned()),
        ("a token that was refused", UNKNOWN.to_owned()),
        ("a service token", service),
        ("the inbox's HMAC key", channel.hmac_token.expect("administrators are shown it")),
        ("a visitor's session", made["source_id"].as_str().expect("a text").to_owned()),
        (
            "a visitor's pubsub token",
            made["pubsub_token"].as_str().expect("a text").to_owned(),
        ),
    ];
    if let Some(token) = profile["pubsub_token"].as_str().filter(|token| !token.is_empty()) {
        secrets.push(("a user's pubsub token", token.to_owned()));
    }
    if let Ok(link) = link {
        let url = link.into_inner().url;
        secrets.push(("a login link", url.rsplit(['=', '/']).next().expect("never empty").to_owned()));
    }
    secrets
}

/// The program on an empty database, with its output in files, once its listeners are open.
struct FirstStart {
    home: tempfile::TempDir,
    child: Child,
}

impl FirstStart {
    async fn run(settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let file = |name: &str| File::create(home.path().join(name)).expect("the folder is ours");
        let mut command = program();
        command.arg("serve").current_dir(home.path()).stdin(Stdio::null());
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
        }
        command.env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a");
        command
            .envs(settings.iter().copied())
            .stdout(file("stdout.txt"))
            .stderr(file("stderr.txt"));
        let started = Self {
            child: command.spawn().expect("the program starts"),
            home,
        };
        in_time("the listeners", async {
            while started.read("stderr.txt").matches("listening").count() < 3 || !started.has_told() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        started
    }

    /// Whether it has reported what it created, on standard output or standard error.
    fn has_told(&self) -> bool {
        self.read("stdout.txt").contains("parley tail") || self.read("stderr.txt").contains("initialized the empty database")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).expect("it is there")
    }

    fn output(&self) -> String {
        format!("{}{}", self.read("stdout.txt"), self.read("stderr.txt"))
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn json_lines(&self) -> Vec<Json> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        self.output().lines().map(parse).collect()
    }
}

impl Drop for FirstStart {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn configured_token_is_not_printed() {
    for format in ["text", "json"] {
        let started = FirstStart::run(&[
            ("PARLEY_LOG_FORMAT", format),
            ("PARLEY_BOOTSTRAP_TOKEN", ADMINISTRATOR),
            ("PARLEY_BOOTSTRAP_PLATFORM_TOKEN", PLATFORM),
        ])
        .await;
        let output = started.output();
        assert!(!output.contains(ADMINISTRATOR) && !output.contains(PLATFORM), "{output}");
        if format == "json" {
            assert_eq!(started.read("stdout.txt"), "");
            started.json_lines();
        }
    }
}

#[tokio::test]
async fn token_from_a_file_is_not_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{ADMINISTRATOR}\n")).expect("the folder is ours");
    let file = file.to_str().expect("a plain path");
    let started = FirstStart::run(&[("PARLEY_LOG_FORMAT", "text"), ("PARLEY_BOOTSTRAP_TOKEN_FILE", file)]).await;
    assert!(!started.output().contains(ADMINISTRATOR) && !started.output().contains("shown only once"));
}

#[tokio::test]
async fn generated_token_is_printed_once_with_text_logs() {
    let started = FirstStart::run(&[("PARLEY_LOG_FORMAT", "text")]).await;
    let output = started.output();
    let token = output
        .split("export PARLEY_TOKEN=")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .expect("it is printed");
    assert!(token.len() >= 24, "{token}");
    assert_eq!(output.matches(token).count(), 1, "{output}");
    assert!(!started.home().join("parley.db.token").exists());
}

#[tokio::test]
async fn generated_token_is_stored_in_a_file_with_json_logs() {
    let mut started = FirstStart::run(&[("PARLEY_LOG_FORMAT", "json")]).await;
    let lines = started.json_lines();
    let told: Vec<&Json> = lines.iter().filter(|line| line.get("token_file").is_some()).collect();
    assert_eq!(told.len(), 1, "one line says where the token is: {lines:?}");
    assert_eq!(told[0]["token_file"], "parley.db.token");
    let file = started.home().join("parley.db.token");
    let token = std::fs::read_to_string(&file).expect("it is there");
    assert!(!started.output().contains(token.trim_end()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The operator retrieves the token, which deletes the file.
    let mut take = program();
    take.arg("initial-token").current_dir(started.home());
    let end = run_to_end(take).await;
    assert_eq!((end.code, end.output.as_str()), (Some(0), token.as_str()));
    assert!(!file.exists());
    let address = lines.iter().find(|line| line["listener"] == "grpc").expect("it listens")["address"].clone();
    let clients = Clients::new(address.as_str().expect("a text"), Some(token.trim_end()));
    clients
        .inboxes
        .clone()
        .get_inbox(GetInboxRequest {
            account_id: 1,
            inbox_id: 1,
        })
        .await
        .expect("the token is good");
    let _ = started.child.kill();
}

/// A token that cannot be stored would lock the operator out. So the database stays empty, and the program says what to do.
#[tokio::test]
async fn database_stays_empty_if_its_token_cannot_be_stored() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join("parley.db.token")).expect("the folder is ours");
    let start = |token: &'static str, address: &'static str| {
        let mut command = program();
        command.arg("serve").current_dir(home.path());
        command.env("PARLEY_LOG_FORMAT", "json").env("PARLEY_BOOTSTRAP_TOKEN", token);
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), address);
        }
        run_to_end(command)
    };
    let refused = start("", "127.0.0.1:0").await;
    assert_eq!(refused.code, Some(78), "{}", refused.output);
    assert!(refused.output.contains("Set bootstrap.token"), "{}", refused.output);
    let url = format!("sqlite://{}", home.path().join("parley.db").display());
    let accounts = "SELECT count(*) FROM accounts";
    assert_eq!(crate::support::database::Database::number(&url, accounts).await, 0);
    // A configured token needs no file, and the listeners are opened before the database is touched.
    let other = start(ADMINISTRATOR, "192.0.2.1:1").await;
    assert_eq!(other.code, Some(71), "{}", other.output);
    assert_eq!(crate::support::database::Database::number(&url, accounts).await, 0);
}
