//! `parley compat`: the program judges logs and HAR files of a Chatwoot installation, without a server or a database.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value as Json, json};

use crate::support::server::program;

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compat").join(name)
}

/// Runs the command in an empty folder with this standard input.
fn compat(arguments: &[&str], input: &[u8]) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = program()
        .arg("compat")
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_vec();
    // A program that exits early closes its standard input.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let mut stdout = String::new();
    let mut output = child.stdout.take().expect("standard output is piped");
    output.read_to_string(&mut stdout).expect("it is text");
    let code = child.wait().expect("our child").code();
    writing.join().expect("it writes");
    let stderr = complaints.join().expect("it reads").expect("it is text");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(left.is_empty(), "no database is made: {left:?}");
    Ended { code, stdout, stderr }
}

fn of_file(name: &str, arguments: &[&str]) -> Ended {
    let path = fixture(name).display().to_string();
    compat(&[&[path.as_str()], arguments].concat(), b"")
}

/// The row of a route with this verdict.
fn row<'a>(report: &'a Json, method: &str, route: &str, verdict: &str) -> &'a Json {
    let rows = report["routes"].as_array().expect("rows");
    let wanted = |row: &&Json| row["method"] == method && row["route"] == route && row["verdict"] == verdict;
    rows.iter()
        .find(wanted)
        .unwrap_or_else(|| panic!("{method} {route} {verdict} is not in {report:#}"))
}

const A: &str = "/api/v1/accounts/{account_id}";

#[test]
fn judges_an_access_log() {
    let ended = of_file("combined.log", &["--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let report = ended.json();
    assert_eq!(
        report["totals"],
        json!({"calls": 17, "served": 6, "different": 4, "absent": 5, "failed": 2})
    );
    assert_eq!(report["not_api"], json!({"pages": 2, "webhooks": 1, "preflights": 1}));
    assert_eq!(report["version"], 1);
    let input = &report["input"];
    assert_eq!(
        (
            &input["format"],
            &input["calls"],
            &input["unreadable"],
            &input["complete"],
            &input["bodies"]
        ),
        (&json!("combined"), &json!(21), &json!(2), &json!(true), &json!(false))
    );
    assert_eq!(row(&report, "GET", &format!("{A}/labels"), "served")["calls"], 5);
    assert_eq!(row(&report, "PUT", &format!("{A}/contacts/{{contact_id}}"), "served")["calls"], 1);
    let conversations = row(&report, "GET", &format!("{A}/conversations"), "different");
    let ignored = &conversations["ignored"];
    assert!(
        ignored
            .as_array()
            .expect("names")
            .contains(&json!({"name": "created_after", "calls": 1})),
        "{ignored}"
    );
    let profile = row(&report, "GET", "/api/v1/profile", "different");
    let matters: Vec<_> = profile["differences"].as_array().expect("differences").iter().collect();
    assert!(
        matters
            .iter()
            .any(|one| one["matter"] == "pubsub_token of the profile" && one["applies"] == "always" && one["parley"] != ""),
        "{matters:#?}"
    );
    let captain = row(&report, "GET", &format!("{A}/captain/**"), "absent");
    assert!(captain["instead"].as_str().expect("a text").contains("stream"), "{captain}");
    row(&report, "POST", &format!("{A}/macros/**"), "absent");
    let unknown = row(&report, "GET", "/api/v1/accounts/{id}/{?}/{id}", "absent");
    assert_eq!((&unknown["instead"], &unknown["first_at"]), (&Json::Null, &json!(14)));
    assert_eq!(row(&report, "GET", "/api/v1/{?}", "failed")["failed_calls"], 1);
    let counts: Vec<u64> = report["routes"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["calls"].as_u64())
        .collect();
    assert!(counts.is_sorted_by(|one, next| one >= next), "{counts:?}");
    assert!(ended.stderr.contains("line 22 cannot be read"), "{}", ended.stderr);
}

#[test]
fn prints_a_table_and_a_conclusion() {
    let ended = of_file("combined.log", &[]);
    assert_eq!(ended.code, Some(3));
    for text in [
        "METHOD  ROUTE",
        "served",
        "use instead: an agent bot, which follows the stream",
        "pubsub_token of the profile",
        "Parley does not serve 5 of 15 calls (33.3 %), of 4 routes",
        "The log has no bodies",
        "first in line 14",
    ] {
        assert!(ended.stdout.contains(text), "{text:?} is not in {}", ended.stdout);
    }
    let absent = of_file("combined.log", &["--only", "absent"]);
    assert!(
        absent.stdout.contains("/captain") && !absent.stdout.contains("/labels"),
        "{}",
        absent.stdout
    );
    let different = of_file("combined.log", &["--only", "different"]);
    assert!(different.stdout.contains("/api/v1/profile") && !different.stdout.contains("/captain"));
}

#[test]
fn prints_no_data_of_callers() {
    for name in [
        "combined.log",
        "nginx.json.log",
        "rails.log",
        "lograge.log",
        "alb.log",
        "traffic.har",
    ] {
        for arguments in [&[][..], &["--json"]] {
            let ended = of_file(name, arguments);
            let printed = format!("{}{}", ended.stdout, ended.stderr.replace(name, "")).to_lowercase();
            for planted in ["planted", "4711", "203.0.113", "chat.example.org", "analytics"] {
                assert!(!printed.contains(planted), "{name}: {planted} is in {printed}");
            }
        }
    }
}

#[test]
fn reads_every_format_compressed_or_from_standard_input() {
    for (name, format, totals) in [
        ("nginx.json.log", "json", [3, 1, 1, 1, 0]),
        ("rails.log", "rails", [3, 1, 1, 0, 1]),
        ("lograge.log", "lograge", [2, 1, 0, 1, 0]),
        ("alb.log", "alb", [3, 1, 0, 1, 1]),
        ("traffic.har", "har", [7, 1, 4, 2, 0]),
    ] {
        let [calls, served, different, absent, failed] = totals;
        let wanted = json!({"calls": calls, "served": served, "different": different, "absent": absent, "failed": failed});
        let text = std::fs::read(fixture(name)).expect("a fixture");
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&text).expect("memory takes it");
        let packed = packed.finish().expect("memory takes it");
        for ended in [
            of_file(name, &["--json"]),
            of_file(name, &["--json", "--format", format]),
            compat(&["-", "--json"], &text),
            compat(&["-", "--json"], &packed),
        ] {
            let report = ended.json();
            assert_eq!(
                (&report["totals"], &report["input"]["format"]),
                (&wanted, &json!(format)),
                "{name}: {report:#}"
            );
        }
    }
}

#[test]
fn judges_bodies_of_a_har_file() {
    let report = of_file("traffic.har", &["--json", "--host", "chat.example.org"]).json();
    assert_eq!(report["input"]["bodies"], true);
    assert_eq!(report["not_api"], json!({"pages": 1, "elsewhere": 1}));
    let team = row(&report, "PATCH", &format!("{A}/teams/{{team_id}}"), "different");
    assert_eq!(
        (&team["refused_calls"], &team["ignored"]),
        (&json!(1), &json!([{"name": "team[colour]", "calls": 1}]))
    );
    let messages = row(
        &report,
        "POST",
        &format!("{A}/conversations/{{conversation_id}}/messages"),
        "different",
    );
    assert_eq!(messages["ignored"], json!([{"name": "bcc_list", "calls": 1}]));
    let matters = messages["differences"].to_string();
    assert!(matters.contains("message_type activity or template"), "{matters}");
    let contacts = row(&report, "POST", &format!("{A}/contacts"), "different");
    assert_eq!(contacts["ignored"], json!([{"name": "(name withheld)", "calls": 1}]));
}

#[test]
fn strips_a_path_prefix() {
    let log = "10.0.0.1 - - [x] \"GET /chat/api/v1/accounts/1/labels HTTP/1.1\" 200 1\n\
               10.0.0.1 - - [x] \"GET /shop/api/v1/orders HTTP/1.1\" 200 1\n";
    let report = compat(&["-", "--json", "--strip-prefix", "/chat"], log.as_bytes()).json();
    assert_eq!((&report["totals"]["served"], &report["totals"]["calls"]), (&json!(1), &json!(1)));
    assert_eq!(report["not_api"], json!({"elsewhere": 1}));
}

#[test]
fn exit_codes_match_the_documented_table() {
    let served = b"10.0.0.1 - - [x] \"GET /api/v1/accounts/1/labels HTTP/1.1\" 200 1\n";
    let different = b"10.0.0.1 - - [x] \"GET /api/v1/profile HTTP/1.1\" 200 1\n";
    let absent = b"10.0.0.1 - - [x] \"GET /api/v1/accounts/1/captain/preferences HTTP/1.1\" 200 1\n";
    let failed = b"10.0.0.1 - - [x] \"GET /api/v1/accounts/1/captain/preferences HTTP/1.1\" 502 1\n";
    for (log, fail_on, code) in [
        (&served[..], &[][..], 0),
        (different, &[], 0),
        (failed, &[], 0),
        (absent, &[], 3),
        (absent, &["--fail-on", "never"], 0),
        (different, &["--fail-on", "different"], 3),
        (served, &["--fail-on", "different"], 0),
        (b"nothing of the kind\n", &[], 65),
        (b"", &[], 65),
        (b"nothing\n", &["--format", "combined"], 65),
        (b"{\"log\": {}}", &[], 65),
        (served, &["--format", "unknown"], 2),
    ] {
        let ended = compat(&[&["-"], fail_on].concat(), log);
        assert_eq!(ended.code, Some(code), "{fail_on:?}: {} {}", ended.stdout, ended.stderr);
    }
    let missing = compat(&["no-such-file.log"], b"");
    assert_eq!(missing.code, Some(65));
    assert!(missing.stderr.contains("no-such-file.log"), "{}", missing.stderr);
}

/// A hostile log: a line without an end, bytes that are not text, deeply nested JSON, compressed data that expands to gigabytes, and more
/// paths than there are routes.
#[test]
fn hostile_logs_are_bounded() {
    let line = |path: &str| format!("10.0.0.1 - - [x] \"GET {path} HTTP/1.1\" 200 1\n");
    let mut log = line("/api/v1/accounts/1/labels").into_bytes();
    log.extend(vec![b'x'; 5_000_000]);
    log.extend(b"\n\xff\xfe\x00\x1b[31m\n");
    log.extend(format!("{}\n", "{\"a\":".repeat(12_000)).into_bytes());
    let words = [
        "labels",
        "contacts",
        "messages",
        "teams",
        "agents",
        "inboxes",
        "conversations",
        "search",
    ];
    for number in 0..8_usize.pow(4) {
        let parts: Vec<_> = (0..4).map(|at| words[number / 8_usize.pow(at) % 8]).collect();
        log.extend(line(&format!("/api/v9/{}", parts.join("/"))).into_bytes());
    }
    let ended = compat(&["-", "--json"], &log);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let report = ended.json();
    assert_eq!(
        (&report["input"]["calls"], &report["totals"]["absent"]),
        (&json!(4097), &json!(4096))
    );
    assert_eq!((&report["input"]["unreadable"], &report["routes_cut"]), (&json!(3), &json!(true)));
    assert!(report["routes"].as_array().expect("rows").len() <= 2000);
    assert!(!ended.stderr.contains('\u{1b}'));

    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(line("/api/v1/accounts/1/labels").as_bytes())
        .expect("memory takes it");
    for _ in 0..200 {
        bomb.write_all(&vec![b'0'; 1024 * 1024]).expect("memory takes it");
    }
    let ended = compat(&["-", "--json"], &bomb.finish().expect("memory takes it"));
    let report = ended.json();
    assert_eq!(
        (&report["totals"]["served"], &report["input"]["complete"]),
        (&json!(1), &json!(false))
    );
    assert!(ended.stderr.contains("expands to more than 400 times"), "{}", ended.stderr);
}

#[test]
fn truncated_har_file_is_judged_up_to_its_end() {
    let text = std::fs::read(fixture("traffic.har")).expect("a fixture");
    let ended = compat(&["-", "--json"], &text[..text.len() / 2]);
    let report = ended.json();
    assert_eq!(report["input"]["complete"], false);
    // An incomplete file fails the command unless `--fail-on never` is set.
    assert_ne!(ended.code, Some(0));
    let never = compat(&["-", "--fail-on", "never"], &text[..text.len() / 2]);
    assert_eq!(never.code, Some(0), "{}", never.stderr);
    assert!(report["totals"]["calls"].as_u64().is_some_and(|calls| calls > 0));
    assert!(ended.stderr.contains("reading ended early"), "{}", ended.stderr);
}
