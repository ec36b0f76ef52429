//! The CPU time of one slice of work: sends the largest accepted requests over both APIs while the server measures each poll of its tasks.
//!
//! `PARLEY_SLICES_BINARY` names the program: a release build with the feature `faults`, which compiles the measurement in.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use parley_proto::{ListContactsRequest, ListMessagesRequest, SearchContactsRequest, SubscribeRequest, subscribe_request::Start};
use serde_json::{Value as Json, json};

use crate::{
    report::say,
    support::{
        api_fixture::{incoming, outgoing},
        app::TestApp,
        database::Backend,
        server::program_at,
    },
};

/// The bound on a slice of a writer shard, in microseconds of CPU time.
const SHARD: u64 = 50_000;

/// The bound on any other slice on the runtime, in microseconds of CPU time.
const WORKER: u64 = 20_000;

/// The length of long message texts; the limit is 150,000 characters.
const TEXT: usize = 149_000;

/// Sends the largest accepted requests. Panics if a slice of work exceeded its bound.
pub async fn stay_short() {
    let program = std::env::var("PARLEY_SLICES_BINARY").expect("PARLEY_SLICES_BINARY names a release build with the feature faults");
    let app = TestApp::builder(Backend::Sqlite)
        .program(program_at(&program))
        .env("PARLEY_FAULT_SWITCH", "measure")
        .env("PARLEY_LOG_FILTER", "warn,parley_fault=info,parley=info")
        .start()
        .await;
    let conversation = large_texts(&app).await;
    large_attributes(&app, conversation).await;
    wide_bodies(&app, conversation).await;
    templates(&app, conversation).await;
    files(&app, conversation).await;
    many_at_once(&app, conversation).await;
    reads(&app, conversation).await;
    let longest = longest(&app.server.log());
    let lines: Vec<String> = longest
        .iter()
        .map(|(kind, micros)| format!("\n  {kind:<22} {micros:>8} µs"))
        .collect();
    let report = lines.concat();
    say(&format!("longest slices of work (thread CPU time):{report}"));
    assert!(
        longest.contains_key("writer shard") && longest.contains_key("gRPC call"),
        "{longest:?}"
    );
    let late: Vec<_> = longest
        .iter()
        .filter(|(kind, micros)| **micros > if *kind == "writer shard" { SHARD } else { WORKER })
        .collect();
    assert!(late.is_empty(), "too long: {late:?}");
}

/// The longest slice of each kind of task, from the server log.
fn longest(log: &str) -> BTreeMap<String, u64> {
    let mut longest: BTreeMap<String, u64> = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()) {
        if let (Some(kind), Some(micros)) = (line["kind"].as_str(), line["micros"].as_u64()) {
            let longest = longest.entry(kind.to_owned()).or_default();
            *longest = micros.max(*longest);
        }
    }
    longest
}

/// Creates messages of the maximum length over both APIs. Returns the conversation.
async fn large_texts(app: &TestApp) -> i64 {
    let (fixture, http) = (app.fixture(), app.http());
    let conversation = fixture.talk().await;
    let path = format!("/conversations/{conversation}/messages");
    // Characters that are escaped in JSON, and characters of four bytes.
    for text in ["x".repeat(TEXT), "\u{1}".repeat(TEXT), "\u{1F600}".repeat(TEXT)] {
        for _ in 0..10 {
            http.post(&path, &json!({"content": text})).await;
            fixture.hear(conversation, &text).await;
        }
    }
    conversation
}

/// Updates contacts with attribute maps of the maximum size, and merges such contacts.
async fn large_attributes(app: &TestApp, conversation: i64) {
    let http = app.http();
    let narrow: Json = (0..250)
        .map(|nth| (format!("key-{nth}"), json!("v".repeat(200))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let wide: Json = (0..8)
        .map(|nth| (format!("list-{nth}"), json!(vec![0; 500])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut contacts = Vec::new();
    for (nth, attributes) in [&narrow, &wide, &narrow, &wide].into_iter().cycle().take(40).enumerate() {
        let body = json!({
            "name": "n".repeat(250), "email": format!("person-{nth}@example.org"),
            "custom_attributes": attributes, "additional_attributes": attributes,
        });
        let made = http.post("/contacts", &body).await;
        contacts.push(made["payload"]["contact"]["id"].as_i64().expect("an id"));
    }
    for pair in contacts[..20].chunks(2) {
        http.post(
            "/actions/contact_merge",
            &json!({"base_contact_id": pair[0], "mergee_contact_id": pair[1]}),
        )
        .await;
    }
    for attributes in [&narrow, &wide] {
        let path = format!("/conversations/{conversation}/custom_attributes");
        http.post(&path, &json!({"custom_attributes": attributes})).await;
    }
}

/// Bodies of four megabytes, as wide and as deep as possible, whether or not their content is accepted.
async fn wide_bodies(app: &TestApp, conversation: i64) {
    let http = app.http();
    let long = "x".repeat(4_000_000);
    let bodies = [
        json!({"content": "x", "content_attributes": {"items": vec![json!({"a": 1}); 4_900]}}),
        json!({"content": "x", "content_attributes": {"items": vec![1.5; 49_000]}}),
        json!({"content": long}),
        json!({"content": "\u{1}".repeat(660_000)}),
        json!({"content": "x", "unknown": vec!["y".repeat(80); 45_000]}),
        (0..4_900)
            .map(|nth| (format!("{nth}-{}", "k".repeat(500)), json!("v".repeat(200))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    ];
    for body in &bodies {
        let path = format!("/api/v1/accounts/1/conversations/{conversation}/messages");
        http.send("POST", &path, Some(body)).await;
        http.send("POST", "/api/v1/accounts/1/contacts/filter", Some(body)).await;
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    for nth in 0..4_000 {
        form.append_pair(&format!("content_attributes[k{nth}]"), &"v".repeat(900));
    }
    let path = format!("/api/v1/accounts/1/conversations/{conversation}/messages");
    let request = http
        .request("POST", &path)
        .header("content-type", "application/x-www-form-urlencoded");
    http.answer(request.body(form.finish())).await;
    let mut parts = reqwest::multipart::Form::new();
    for nth in 0..4_000 {
        parts = parts.text(format!("content_attributes[k{nth}]"), "v".repeat(200));
    }
    http.answer(http.request("POST", &path).multipart(parts)).await;
}

/// Templates that compute as much as they are allowed to.
async fn templates(app: &TestApp, conversation: i64) {
    let fixture = app.fixture();
    for text in [
        "{{contact.name}}".repeat(9_000),
        format!("{}{{{{contact.name}}}}", " ".repeat(TEXT - 20)),
        format!(
            "{{% for a in (1..1000) %}}{}{{% endfor %}}",
            "{{contact.name | upcase}}".repeat(1_000)
        ),
        format!("{{{{ {}a{} }}}}", "a[".repeat(3_187), "]".repeat(3_187)),
    ] {
        // Accepted in any case: stored as it is, or rendered.
        let sent = fixture.send(conversation, outgoing(&text)).await;
        assert!(sent.is_ok(), "{sent:?}");
    }
}

/// Large files, and an image with many pixels.
async fn files(app: &TestApp, conversation: i64) {
    let http = app.http();
    let path = format!("/api/v1/accounts/1/conversations/{conversation}/messages");
    let picture = bitmap(4_000);
    for (name, bytes) in [("large.bin", vec![7; 30 << 20]), ("large.bmp", picture)] {
        let part = reqwest::multipart::Part::stream(Bytes::from(bytes)).file_name(name);
        let form = reqwest::multipart::Form::new()
            .text("content", "a file")
            .part("attachments[]", part);
        let answer = http.answer(http.request("POST", &path).multipart(form)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let link = answer.body["attachments"][0]["data_url"].as_str().expect("a link").to_owned();
        let file = reqwest::get(&link).await.expect("the file").bytes().await.expect("the file");
        assert!(file.len() > 1 << 20);
    }
}

/// A bitmap with one bit per pixel, which is small on the wire and large in memory.
fn bitmap(side: u32) -> Vec<u8> {
    let stride = side.div_ceil(32) * 4;
    let length = 62 + stride * side;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"BM");
    for number in [length, 0, 62, 40, side, side] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[1, 0, 1, 0]);
    for number in [0, stride * side, 2835, 2835, 2, 2, 0, 0x00ff_ffff_u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.resize(length as usize, 0x55);
    bytes
}

/// Batches of the writer: many messages at once, some of them long, with other changes in between.
async fn many_at_once(app: &TestApp, conversation: i64) {
    let fixture = app.fixture();
    let (long, short) = ("x".repeat(TEXT), "hello".to_owned());
    for _ in 0..5 {
        let sends = (0..400).map(|nth| {
            let text = if nth % 8 == 0 { &long } else { &short };
            fixture.send(conversation, incoming(text))
        });
        for sent in join_all(sends).await {
            sent.expect("the message is accepted");
        }
    }
}

/// The largest responses: lists, searches, the log from its beginning, API descriptions.
async fn reads(app: &TestApp, conversation: i64) {
    let (http, clients) = (app.http(), app.clients());
    for path in [
        "/contacts".to_owned(),
        "/contacts/search?q=person".to_owned(),
        "/conversations?status=all".to_owned(),
        format!("/conversations/{conversation}/messages"),
        format!("/conversations/{conversation}"),
        "/search?q=xxx".to_owned(),
        "/audit_logs".to_owned(),
        "/inboxes".to_owned(),
        "/agents".to_owned(),
    ] {
        for _ in 0..3 {
            http.send("GET", &format!("/api/v1/accounts/1{path}"), None).await;
        }
    }
    for path in ["/openapi.json", "/docs/api"] {
        http.send("GET", path, None).await;
    }
    for _ in 0..3 {
        let contacts = ListContactsRequest {
            account_id: 1,
            page_size: 100,
            ..ListContactsRequest::default()
        };
        clients.contacts.clone().list_contacts(contacts).await.expect("contacts");
        let messages = ListMessagesRequest {
            account_id: 1,
            conversation_id: conversation,
            page_size: 100,
            ..ListMessagesRequest::default()
        };
        clients.messages.clone().list_messages(messages).await.expect("messages");
        let search = SearchContactsRequest {
            account_id: 1,
            query: "person".to_owned(),
            ..SearchContactsRequest::default()
        };
        clients.contacts.clone().search_contacts(search).await.expect("contacts");
    }
    for start in [Start::Earliest(()), Start::Snapshot(())] {
        let request = SubscribeRequest {
            account_id: 1,
            start: Some(start),
            ..SubscribeRequest::default()
        };
        let mut stream = clients.events.clone().subscribe(request).await.expect("a stream").into_inner();
        let quiet = std::time::Duration::from_secs(2);
        while let Ok(Ok(Some(_))) = tokio::time::timeout(quiet, stream.message()).await {}
    }
}
