//! Requests that nobody would write, at every route: whatever comes, the door answers what it describes, and never with a fault.
//!
//! `PARLEY_FUZZ_ROUNDS` makes it longer, `PARLEY_FUZZ_SEED` repeats a run; the seed is printed with what was found.

use std::fmt::Write as _;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value as Json, json};

use super::body_schema;
use crate::support::{
    app::{PLATFORM, TestApp},
    database::Backend,
    http::Http,
    on_both,
};

on_both!(whatever_comes_is_answered_as_described);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Any value at all; ids are never 1, which is the account, the user and the inbox that the test stands on.
fn anything(rng: &mut StdRng, depth: u32) -> Json {
    let texts = [
        "",
        " ",
        "x",
        "0",
        "2",
        "-1",
        "9223372036854775808",
        "true",
        "null",
        "open",
        "\u{0}",
        "\u{202e}ß\u{10ffff}",
        "'; DROP TABLE contacts; --",
        "%_\\",
        "{{ contact.name | upcase }}",
        "{% for",
        "2031-03-04T05:06:07Z",
        "a@b.example",
        "+4930123456",
        "https://a.example/?q=1",
    ];
    match rng.random_range(0..if depth == 0 { 9 } else { 11 }) {
        0 => Json::Null,
        1 => json!(rng.random_bool(0.5)),
        2 => json!(
            *[0_i64, 2, -1, 99, 1_000_001, i64::MAX, i64::MIN]
                .choose(rng)
                .expect("there are some")
        ),
        3 => json!(*[0.5, -0.0, 1e300, 2.0, 1e-300].choose(rng).expect("there are some")),
        4 => json!("x".repeat(rng.random_range(0..400))),
        5..=8 => json!(texts.choose(rng).expect("there are some")),
        9 => (0..rng.random_range(0..4)).map(|_| anything(rng, depth - 1)).collect(),
        _ => {
            let keys = ["content", "name", "id", "items", "payload", "attribute_key", "values", "a.b", ""];
            let count = rng.random_range(0..4);
            (0..count)
                .map(|_| ((*keys.choose(rng).expect("there are some")).to_owned(), anything(rng, depth - 1)))
                .collect::<Map<_, _>>()
                .into()
        }
    }
}

/// Something near to what a schema asks for, or anything.
fn value(rng: &mut StdRng, schema: &Json, components: &Json, depth: u32) -> Json {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return value(rng, &components["schemas"][name], components, depth);
    }
    if depth == 0 || rng.random_bool(0.25) {
        return anything(rng, 2);
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices.choose(rng).cloned().unwrap_or_default();
    }
    if let Some(of) = ["anyOf", "oneOf"].iter().find_map(|of| schema[of].as_array()?.choose(rng)) {
        return value(rng, of, components, depth);
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("integer" | "number") => json!(rng.random_range(2..6)),
        Some("boolean") => json!(rng.random_bool(0.5)),
        Some("array") => (0..rng.random_range(0..3))
            .map(|_| value(rng, &schema["items"], components, depth - 1))
            .collect(),
        Some("object") => {
            let mut map = Map::new();
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                if rng.random_bool(0.7) {
                    map.insert(name.clone(), value(rng, inner, components, depth - 1));
                }
            }
            if rng.random_bool(0.1) {
                map.insert("x".to_owned(), anything(rng, 2));
            }
            map.into()
        }
        _ => anything(rng, 0),
    }
}

/// A path with ids filled in, and a query now and then.
fn path(rng: &mut StdRng, template: &str, operation: &Json, nth: usize) -> String {
    let parts = template.split('/').map(|part| match part {
        "{account_id}" if template.starts_with("/api/") && !rng.random_bool(0.02) => "1".to_owned(),
        // What the test itself stands on is left alone.
        "{account_id}" | "{user_id}" | "{agent_id}" => (*["2", "99", "x"].choose(rng).expect("there are some")).to_owned(),
        "{inbox_id}" if operation["x-parley-writes"] == true => "2".to_owned(),
        part if part.starts_with('{') => match rng.random_range(0..8) {
            0 => "99".to_owned(),
            1 => "%00".to_owned(),
            2 => "-1".to_owned(),
            3 => "18446744073709551616".to_owned(),
            4 => "a%20b".to_owned(),
            _ => rng.random_range(1..=nth + 1).to_string(),
        },
        part => part.to_owned(),
    });
    let mut path = parts.collect::<Vec<_>>().join("/");
    let mut glue = '?';
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" && rng.random_bool(0.4) {
            let text = match anything(rng, 0) {
                Json::String(text) => text,
                other => other.to_string(),
            };
            let name = parameter["name"].as_str().unwrap_or_default();
            write!(path, "{glue}{name}=").expect("a String takes everything");
            for byte in text.bytes() {
                write!(path, "%{byte:02X}").expect("a String takes everything");
            }
            glue = '&';
        }
    }
    path
}

/// The request, its body as JSON, as broken JSON, as a form or in parts.
fn dressed(rng: &mut StdRng, request: reqwest::RequestBuilder, body: &Json) -> reqwest::RequestBuilder {
    let text = body.to_string();
    match rng.random_range(0..10) {
        0 => request
            .header("content-type", "application/json")
            .body(text.chars().take(text.len() / 2).collect::<String>()),
        1 => request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("a[b][]=1&a[b][][c]=2&content=hi&label[title]=form&%FF=%FE"),
        2 => {
            let field = |name: &str, value: &str| format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            let parts: String = body
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| field(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str()))
                .collect();
            let end = if rng.random_bool(0.8) { "--x--\r\n" } else { "" };
            request
                .header("content-type", "multipart/form-data; boundary=x")
                .body(format!("{parts}{end}"))
        }
        _ => request.header("content-type", "application/json").body(text),
    }
}

async fn whatever_comes_is_answered_as_described(backend: Backend) {
    let rounds = setting("PARLEY_FUZZ_ROUNDS").unwrap_or(6);
    let seed = setting("PARLEY_FUZZ_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds");
    let mut rng = StdRng::seed_from_u64(seed);
    let app = TestApp::builder(backend).platform().start().await;
    let (http, operator) = (app.http(), app.http().with_token(PLATFORM));
    let document = http.description().await.document().clone();
    let operations = http.description().await.operations();
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for nth in 0..usize::try_from(rounds).expect("not that many") {
        let scene = app.scene();
        let conversation = scene.talk().await;
        scene.hear(conversation, "hello").await;
        for (method, template) in &operations {
            let operation = &document["paths"][template][method.to_ascii_lowercase()];
            // It ends only with its reader.
            if operation["operationId"] == "followEvents" {
                continue;
            }
            let by: &Http = if operation["x-parley-caller"] == "platform" {
                &operator
            } else {
                &http
            };
            let path = path(&mut rng, template, operation, nth);
            let mut request = by.request(method, &path);
            let schema = body_schema(operation);
            if schema.is_object() {
                let body = value(&mut rng, schema, &document["components"], 4);
                request = dressed(&mut rng, request, &body);
            }
            // Holds the answer against the description, too.
            let answer = by.answer(request).await;
            *answers.entry(answer.status).or_default() += 1;
            assert!(
                answer.status < 500,
                "seed {seed}: {method} {path} was answered with {} {}",
                answer.status,
                answer.body
            );
        }
    }
    println!("answers by status: {answers:?}");
    // It goes on, and what it stores can be read.
    for path in [
        "/api/v1/profile",
        "/api/v1/accounts/1/conversations?status=all",
        "/api/v1/accounts/1/contacts",
    ] {
        assert_eq!(http.send("GET", path, None).await.status, 200, "seed {seed}: {path}");
    }
    assert!(
        answers.keys().any(|status| *status == 200) && answers.contains_key(&422),
        "{answers:?}"
    );
}
