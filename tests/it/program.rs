//! The program itself: starting, refusing to start, health, reflection and gRPC-Web.

use std::process::Command;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parley_proto::{GetLogInfoRequest, GetLogInfoResponse};
use prost::Message as _;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::{Backend, Database},
    http::client,
    in_time, on_both,
    server::{Ended, program, run_to_end},
};

on_both!(
    health_reports_serving,
    reflection_lists_the_contract,
    grpc_web_works_over_http_1,
    admin_listener_responds
);

/// Runs the program with these settings on free ports in an empty directory.
async fn run(settings: &[(&str, &str)]) -> Ended {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command: Command = program();
    command.arg("serve").current_dir(home.path());
    for listener in ["PARLEY_GRPC_ADDR", "PARLEY_HTTP_ADDR", "PARLEY_ADMIN_ADDR"] {
        command.env(listener, "127.0.0.1:0");
    }
    run_to_end({
        command.envs(settings.iter().copied());
        command
    })
    .await
}

/// Asserts that the program reports why it ended in plain words, without a backtrace.
#[track_caller]
fn assert_plain(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.output);
    for word in words {
        assert!(ended.output.contains(word), "{word:?} is missing in: {}", ended.output);
    }
    assert!(
        !ended.output.contains("panicked") && !ended.output.contains("RUST_BACKTRACE"),
        "{}",
        ended.output
    );
}

#[tokio::test]
async fn second_server_on_one_file_is_refused() {
    let app = TestApp::start(Backend::Sqlite).await;
    let url = app.database.url();
    let ended = run(&[("PARLEY_DATABASE_URL", &url)]).await;
    assert_plain(&ended, 73, &["another Parley process"]);
    // The first server is unaffected.
    app.fixture().talk().await;
}

#[tokio::test]
async fn unreachable_database_is_named() {
    let settings = [
        ("PARLEY_DATABASE_URL", "postgres://postgres@127.0.0.1:1/parley"),
        ("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "1"),
    ];
    let ended = run(&settings).await;
    assert_plain(&ended, 69, &["cannot be reached"]);
}

#[tokio::test]
async fn password_is_not_shown() {
    let settings = [
        ("PARLEY_DATABASE_URL", "postgres://parley:hunter2@127.0.0.1:1/parley"),
        ("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "1"),
    ];
    let ended = run(&settings).await;
    assert_plain(&ended, 69, &[]);
    assert!(!ended.output.contains("hunter2"), "{}", ended.output);
}

#[tokio::test]
async fn unknown_setting_is_named() {
    let ended = run(&[("PARLEY_GRPC_COLOUR", "blue")]).await;
    assert_plain(&ended, 78, &["PARLEY_GRPC_COLOUR"]);
}

#[tokio::test]
async fn invalid_setting_names_its_key() {
    let ended = run(&[("PARLEY_WRITER_SHARDS", "many")]).await;
    assert_plain(&ended, 78, &["PARLEY_WRITER_SHARDS"]);
    let ended = run(&[("PARLEY_GRPC_ADDR", "nowhere")]).await;
    assert_plain(&ended, 78, &["PARLEY_GRPC_ADDR"]);
    let ended = run(&[("PARLEY_BOOTSTRAP_TOKEN", "short")]).await;
    assert_plain(&ended, 78, &["PARLEY_BOOTSTRAP_TOKEN"]);
}

async fn health_reports_serving(backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut health = HealthClient::new(app.clients().service);
    for service in ["", "parley.v1.MessagesService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = in_time("health", health.check(request))
            .await
            .expect("health is answered")
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
}

async fn reflection_lists_the_contract(backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut reflection = ServerReflectionClient::new(app.clients().service);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await
        .expect("reflection is answered");
    let answer = in_time("reflection", answer.into_inner().message())
        .await
        .expect("an answer")
        .expect("one");
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("a list: {answer:?}");
    };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for noun in ["Accounts", "Contacts", "Conversations", "Events", "Inboxes", "Messages"] {
        assert!(names.contains(&format!("parley.v1.{noun}Service")), "{names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
}

async fn grpc_web_works_over_http_1(backend: Backend) {
    let app = TestApp::start(backend).await;
    let request = GetLogInfoRequest { account_id: 1 }.encode_to_vec();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(request.len()).expect("a small message"));
    body.put_slice(&request);
    let response = client()
        .post(format!("http://{}/parley.v1.EventsService/GetLogInfo", app.server.listeners.grpc))
        .version(http::Version::HTTP_11)
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .header("api_access_token", ADMINISTRATOR)
        .body(body.freeze())
        .send()
        .await
        .expect("the server responds");
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_11));
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    let mut body: Bytes = response.bytes().await.expect("the body arrives");
    let mut frame = || {
        let (flags, length) = (body.get_u8(), body.get_u32());
        (flags, body.split_to(usize::try_from(length).expect("32 bits fit")))
    };
    let (flags, message) = frame();
    let info = GetLogInfoResponse::decode(message).expect("the answer");
    assert_eq!(flags, 0);
    assert_eq!((info.earliest_seq, info.epoch.len()), (1, 8));
    let (flags, trailers) = frame();
    assert_eq!(flags, 0x80, "trailers come as the last frame");
    let trailers = String::from_utf8_lossy(&trailers).replace(' ', "");
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

async fn admin_listener_responds(backend: Backend) {
    let app = TestApp::start(backend).await;
    let get = async |path: &str| {
        let url = format!("http://{}/{path}", app.server.listeners.admin);
        client().get(url).send().await.expect("the server responds")
    };
    assert_eq!(get("livez").await.status(), 200);
    // The listeners open before the server is ready; this test only checks that it becomes ready.
    in_time("readiness", async {
        while get("readyz").await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let metrics = get("metrics").await;
    assert_eq!(metrics.status(), 200);
    let metrics = metrics.text().await.expect("the body arrives");
    assert!(metrics.contains("# TYPE"), "{metrics}");
}

/// The value of a variable in the environment of a running server.
fn environment_of(app: &TestApp, name: &str) -> Option<String> {
    let path = format!("/proc/{}/environ", app.server.id());
    let environment = std::fs::read(path).expect("the environment is readable");
    let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    variables.find_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

#[tokio::test]
async fn purge_delay_of_the_allocator_is_bounded() {
    let app = TestApp::start(Backend::Sqlite).await;
    assert_eq!(environment_of(&app, "MIMALLOC_PURGE_DELAY").as_deref(), Some("100"));
    let app = TestApp::builder(Backend::Sqlite).env("MIMALLOC_PURGE_DELAY", "20").start().await;
    assert_eq!(environment_of(&app, "MIMALLOC_PURGE_DELAY").as_deref(), Some("20"));
}

#[tokio::test]
async fn deprecated_setting_is_reported_at_start_and_by_the_doctor() {
    let app = TestApp::builder(Backend::Sqlite).env("PARLEY_WRITER_LANES", "1").start().await;
    let log = app.server.log();
    assert_eq!(log.matches("a configuration key is deprecated").count(), 1, "{log}");
    let home = tempfile::tempdir().expect("a temporary directory");
    let doctor = async |settings: &[(&str, &str)]| {
        let mut command = program();
        command.arg("doctor").current_dir(home.path());
        command.envs(["GRPC", "HTTP", "ADMIN"].map(|name| (format!("PARLEY_{name}_ADDR"), "127.0.0.1:0")));
        command.envs(settings.iter().copied());
        run_to_end(command).await
    };
    let deprecated = doctor(&[("PARLEY_WRITER_LANES", "1")]).await;
    let finding = "warn  settings    environment variable PARLEY_WRITER_LANES: `writer.lanes` is deprecated";
    assert_eq!(deprecated.code, Some(0), "{}", deprecated.output);
    assert!(
        deprecated.output.contains(&format!("{finding}: use `writer.shards`")),
        "{}",
        deprecated.output
    );
    let both = doctor(&[("PARLEY_WRITER_LANES", "1"), ("PARLEY_WRITER_SHARDS", "2")]).await;
    assert!(both.output.contains(&format!("{finding} and ignored")), "{}", both.output);
}

#[tokio::test]
async fn doctor_explains_problems_in_plain_words() {
    let home = tempfile::tempdir().expect("a folder");
    let doctor = async |settings: &[(&str, &str)]| {
        let mut command = program();
        command.arg("doctor").current_dir(home.path());
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
        }
        command.envs(settings.iter().copied());
        run_to_end(command).await
    };
    let well = doctor(&[]).await;
    assert_eq!(well.code, Some(0), "{}", well.output);
    for line in [
        "ok    database    it does not exist yet",
        "ok    files       the folder files does not exist yet",
        "ok    telemetry   nothing is exported",
        "Parley can run here.",
    ] {
        assert!(well.output.contains(line), "{line} is not in\n{}", well.output);
    }
    assert!(!home.path().join("files").exists(), "the doctor reports, and creates nothing");
    std::fs::create_dir(home.path().join("files")).expect("ours");
    let well = doctor(&[]).await;
    assert!(
        well.output.contains("ok    files       file:files stores and returns files"),
        "{}",
        well.output
    );
    let ill = doctor(&[
        ("PARLEY_DATABASE_URL", "postgres://ana:hunter2@127.0.0.1:1/parley"),
        ("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "1"),
        ("PARLEY_FILES_URL", "file:/dev/null/nowhere"),
        ("PARLEY_TLS_CERT_FILE", "missing.crt"),
        ("PARLEY_NATS_URL", "nats://127.0.0.1:1"),
        ("PARLEY_MAIL_URL", "smtp://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ])
    .await;
    assert_eq!(ill.code, Some(1), "{}", ill.output);
    let collector = "http://127.0.0.1:1 cannot be reached on port 1";
    assert!(ill.output.contains(collector), "{collector} is not in\n{}", ill.output);
    for about in ["database", "files", "tls", "nats", "mail"] {
        assert!(
            ill.output.contains(&format!("FAIL  {about:<12}")),
            "{about} is not among\n{}",
            ill.output
        );
    }
    assert!(
        ill.output.contains("5 problems prevent Parley from running") && !ill.output.contains("hunter2"),
        "{}",
        ill.output
    );
}

#[tokio::test]
async fn doctor_reports_the_database_on_postgres() {
    let database = Database::create(Backend::Postgres).await;
    let mut command = program();
    command
        .arg("doctor")
        .env("PARLEY_DATABASE_URL", database.url())
        .env("PARLEY_FILES_URL", "file:/tmp");
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
    }
    let seen = run_to_end(command).await;
    for line in [
        "database    PostgreSQL",
        "migrations behind, which the next start runs",
        "signals     a notification sent by one connection is received by another",
    ] {
        assert!(seen.output.contains(line), "{line} is not in\n{}", seen.output);
    }
}

/// If migrations are run separately, a server that finds an outdated schema reports it and changes nothing.
#[tokio::test]
async fn server_without_migrations_changes_nothing_on_postgres() {
    let database = Database::create(Backend::Postgres).await;
    let url = database.url();
    let settings = [("PARLEY_DATABASE_URL", url.as_str()), ("PARLEY_DATABASE_MIGRATE", "false")];
    let ended = run(&settings).await;
    assert_plain(&ended, 75, &["migrations behind", "parley migrate"]);
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(Database::number(&url, tables).await, 0);
    let mut migrate = program();
    migrate.arg("migrate").env("PARLEY_DATABASE_URL", &url);
    assert_eq!(run_to_end(migrate).await.code, Some(0));
    let app = TestApp::builder(Backend::Postgres)
        .database(database)
        .env("PARLEY_DATABASE_MIGRATE", "false")
        .start()
        .await;
    app.fixture().talk().await;
}
