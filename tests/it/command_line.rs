//! The client commands: positions of options, error messages, the output of lists, and accepted forms of a cursor.

use std::{fs, path::Path, process::Command};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    authority::Authority,
    database::Backend,
    in_time,
    reader::{event, log_info, whole_log},
    server::{Ended, program, run_to_end},
};

/// A client command against a server, with the administrator's token.
fn client(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = program();
    command
        .args(arguments)
        .env("PARLEY_SERVER", format!("http://{}", app.server.listeners.grpc))
        .env("PARLEY_TOKEN", ADMINISTRATOR);
    command
}

#[tokio::test]
async fn connection_options_may_precede_or_follow_the_command() {
    let app = TestApp::start(Backend::Sqlite).await;
    let server = format!("http://{}", app.server.listeners.grpc);
    let target = ["--server", server.as_str(), "--token", ADMINISTRATOR];
    for verb in [
        &["token", "list"][..],
        &["consumers", "list"],
        &["account", "list"],
        &["agent", "list"],
        &["inbox", "list"],
        &["bot", "list"],
    ] {
        let (noun, rest) = verb.split_first().expect("a noun");
        for arguments in [[&[*noun], &target[..], rest].concat(), [&[*noun], rest, &target[..]].concat()] {
            let mut command = program();
            command.args(&arguments);
            let ended = run_to_end(command).await;
            assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.output);
        }
        let ended = run_to_end(client(&app, verb)).await;
        assert_eq!(ended.code, Some(0), "{verb:?} from the environment: {}", ended.output);
    }
}

#[tokio::test]
async fn errors_name_options_and_empty_lists_are_reported() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (arguments, option) in [
        (&["token", "create", "--name", "x"][..], "--account"),
        (&["token", "create", "--kind", "user"], "--user"),
        (&["token", "create", "--kind", "agent-bot"], "--agent-bot"),
        (&["token", "create", "--account", "1", "--inbox", "99"], "--inbox"),
        (
            &["token", "create", "--account", "1", "--expires", "2001-01-01T00:00:00Z"],
            "--expires",
        ),
        (&["token", "create", "--kind", "user", "--user", "99"], "--user"),
        (&["agent", "create", "--name", "x", "--email", "nowhere"], "--email"),
    ] {
        let ended = run_to_end(client(&app, arguments)).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.output);
        assert!(ended.output.contains(option), "{arguments:?}: {}", ended.output);
        assert!(!ended.output.contains("_id"), "a field of the API: {}", ended.output);
    }
    // Standard output contains rows for scripts, and standard error the remark.
    for (arguments, remark) in [(["consumers", "list"], "no consumers\n"), (["bot", "list"], "no agent bots\n")] {
        let ended = run_to_end(client(&app, &arguments)).await;
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), remark));
    }
    for name in ["one", "two"] {
        let made = run_to_end(client(&app, &["token", "create", "--account", "1", "--name", name])).await;
        assert_eq!(made.code, Some(0), "{}", made.output);
    }
    let ended = run_to_end(client(&app, &["token", "list", "--account", "1"])).await;
    let lines: Vec<&str> = ended.output.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.output);
    assert!(lines[0].starts_with("ID  KIND"), "{}", ended.output);
}

/// A connection that cannot succeed ends a command at once with a hint.
#[tokio::test]
async fn failed_first_connection_prints_a_hint() {
    let app = TestApp::start(Backend::Sqlite).await;
    let listeners = app.server.listeners.clone();
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let (grpc, http, admin) = (listeners.grpc, listeners.http, listeners.admin);
    for (server, token, code, hint) in [
        (grpc.clone(), ADMINISTRATOR, 2, "begin with http:// or https://"),
        (format!("grpc://{grpc}"), ADMINISTRATOR, 2, "not grpc://"),
        (format!("http://{http}"), ADMINISTRATOR, 1, "port of the JSON API"),
        (format!("http://{admin}"), ADMINISTRATOR, 1, "admin port"),
        (format!("https://{grpc}"), ADMINISTRATOR, 1, "begin --server with http://"),
        (format!("http://{unused}"), ADMINISTRATOR, 1, "nothing listens"),
        (
            "http://nowhere.invalid:50051".to_owned(),
            ADMINISTRATOR,
            1,
            "nowhere.invalid is unknown",
        ),
        (format!("http://{grpc}"), "a-token-that-is-not-known-here-1", 1, "check --token"),
        (format!("http://{grpc}"), "", 2, "--token"),
    ] {
        for command in [&["tail"][..], &["token", "list"], &["consumers", "list"]] {
            let mut program = program();
            program.args(command).args(["--server", &server, "--token", token]);
            let ended = run_to_end(program).await;
            assert_eq!(ended.code, Some(code), "{command:?} {server}: {}", ended.output);
            assert!(
                ended.output.contains(hint),
                "{command:?} {server}: {hint:?} is not in {}",
                ended.output
            );
        }
    }
}

#[tokio::test]
async fn certificate_errors_are_explained() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    let (certificate, key) = authority.sign("parley.test");
    write("tls.crt", &certificate);
    write("tls.key", &key);
    write("ca.crt", &authority.pem);
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_TLS_CERT_FILE", &path("tls.crt"))
        .env("PARLEY_TLS_KEY_FILE", &path("tls.key"))
        .env("PARLEY_TLS_LISTENERS", "grpc")
        .start()
        .await;
    let grpc = &app.server.listeners.grpc;
    let list = async |server: String, more: &[&str]| -> Ended {
        let mut command = program();
        command
            .args(["token", "list", "--server", &server, "--token", ADMINISTRATOR])
            .args(more);
        run_to_end(command).await
    };
    let ca = path("ca.crt");
    for (server, more, hint) in [
        (format!("http://{grpc}"), vec![], "begin --server with https://"),
        (format!("https://{grpc}"), vec![], "--ca-file"),
        (format!("https://{grpc}"), vec!["--ca-file", ca.as_str()], "--server-name"),
    ] {
        let ended = list(server, &more).await;
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains(hint), "{hint:?} is not in {}", ended.output);
    }
    let well = list(format!("https://{grpc}"), &["--ca-file", &ca, "--server-name", "parley.test"]).await;
    assert_eq!(well.code, Some(0), "{}", well.output);
}

/// Runs `parley tail` until it has printed this many lines, then interrupts it. Returns the lines of standard output, and standard error.
async fn tail(app: &TestApp, arguments: &[&str], lines: usize) -> (Vec<String>, String) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut command = client(app, &[&["tail"], arguments].concat());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let pid = Pid::from_child(&child);
    let reading = tokio::task::spawn_blocking(move || {
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut read = Vec::new();
        while read.len() < lines {
            let mut line = String::new();
            if output.read_line(&mut line).expect("it is text") == 0 {
                break;
            }
            read.push(line.trim_end().to_owned());
        }
        let _ = kill_process(pid, Signal::INT);
        let mut errors = String::new();
        child
            .stderr
            .take()
            .expect("it is piped")
            .read_to_string(&mut errors)
            .expect("it is text");
        child.wait().expect("it is our child");
        (read, errors)
    });
    in_time("the lines", reading).await.expect("reading does not panic")
}

/// Every form in which a cursor is printed is accepted as input.
#[tokio::test]
async fn cursor_is_accepted_in_every_printed_form() {
    let app = TestApp::start(Backend::Sqlite).await;
    let talk = app.fixture().talk().await;
    app.fixture().hear(talk, "hello").await;
    let log = whole_log(&app.clients(), 1).await;
    let (cursor, next) = (&log[0].cursor, event(&log[1]).seq);
    let http = app.http();
    let spellings = [
        hex::encode(cursor),
        STANDARD.encode(cursor),
        STANDARD.encode(cursor).trim_end_matches('=').to_owned(),
        URL_SAFE.encode(cursor),
        URL_SAFE_NO_PAD.encode(cursor),
    ];
    for text in &spellings {
        let (lines, errors) = tail(&app, &["--json", "--from", text], 1).await;
        let line: Json = serde_json::from_str(&lines[0]).unwrap_or_else(|error| panic!("{error}: {lines:?} {errors}"));
        assert_eq!(line["seq"].as_u64(), Some(next), "{text}");
        assert_eq!(
            line["cursor"],
            URL_SAFE_NO_PAD.encode(&log[1].cursor),
            "base64url is what is written"
        );
        let escaped = text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for query in [format!("?after={escaped}"), format!("?from={escaped}")] {
            let request = http.request("GET", &format!("/api/v1/accounts/1/events{query}"));
            let mut response = in_time("the stream", request.send()).await.expect("it is answered");
            assert_eq!(response.status(), 200, "{query}");
            let chunk = in_time("an event", response.chunk()).await.expect("it arrives").expect("one");
            assert!(String::from_utf8_lossy(&chunk).contains(&format!("\"seq\":{next},")), "{query}");
        }
        let request = http.request("GET", "/api/v1/accounts/1/labels").header("parley-min-cursor", text);
        assert_eq!(http.answer(request).await.status, 200, "{text}");
    }
    for query in ["?form=earliest", "?from=yesterday!", "?cursor=x", "?after=x!"] {
        let request = http.request("GET", &format!("/api/v1/accounts/1/events{query}"));
        assert_eq!(http.answer(request).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn tail_prints_the_date_and_the_command_to_resume() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.fixture().talk().await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let wanted = usize::try_from(head).expect("a few") + 1;
    let (lines, errors) = tail(&app, &["--from", "earliest"], wanted).await;
    assert!(lines[0].starts_with("--- 2") && lines[0].ends_with(" ---"), "{lines:?}");
    let resume = errors.lines().last().expect("a line").to_owned();
    let (_, from) = resume.split_once("--from ").unwrap_or_else(|| panic!("{errors}"));
    assert!(
        resume.starts_with("parley: continue with: parley tail --server http://"),
        "{resume}"
    );
    assert!(!resume.contains(ADMINISTRATOR), "{resume}");
    // The suggested command continues with the next event and repeats none.
    app.fixture().talk().await;
    let (lines, _) = tail(&app, &["--json", "--from", from], 1).await;
    let line: Json = serde_json::from_str(&lines[0]).expect("JSON");
    assert!(line["seq"].as_u64() > Some(head), "{line}");
}

#[tokio::test]
async fn effective_settings_are_shown_with_sources_but_no_secrets() {
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("parley.toml"), "[writer]\nshards = 3\n").expect("written");
    let mut command = program();
    command
        .args(["config", "show", "--config", "parley.toml", "--http-addr", "127.0.0.1:1"])
        .current_dir(home.path())
        .env("PARLEY_DATABASE_URL", "postgres://ana:hunter2@db/parley")
        .env("PARLEY_BOOTSTRAP_TOKEN", "hunter2hunter2hunter2hunter2");
    let shown = run_to_end(command).await;
    assert_eq!(shown.code, Some(0), "{}", shown.output);
    let row = |key: &str| {
        let line = shown.output.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("{key} is not in {}", shown.output)).to_owned()
    };
    for (key, value, source) in [
        ("writer.shards", " 3 ", "file parley.toml"),
        ("http.addr", "127.0.0.1:1", "flag --http-addr"),
        (
            "database.url",
            "postgres://ana:***@db/parley",
            "environment variable PARLEY_DATABASE_URL",
        ),
        ("bootstrap.token", "***", "environment variable PARLEY_BOOTSTRAP_TOKEN"),
        ("events.keep_days", "", "default"),
    ] {
        assert!(row(key).contains(value) && row(key).contains(source), "{}", row(key));
    }
    assert!(!shown.output.contains("hunter2"), "{}", shown.output);
}

#[tokio::test]
async fn completions_are_generated_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = program();
        command.args(["completions", shell]);
        let ended = run_to_end(command).await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(ended.output.contains("parley") && ended.output.contains("consumers"), "{shell}");
    }
}

/// The commands of the README as written: every principal gets a credential, starting from an empty database.
#[tokio::test]
async fn every_readme_command_works_as_written() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readme.sh");
    let mut command = Command::new(script);
    command.arg(env!("CARGO_BIN_EXE_parley"));
    let ended = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("it ends")
        .expect("bash runs");
    assert!(
        ended.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}
