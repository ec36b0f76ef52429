//! Generated requests to every route: the REST gateway must respond as its `OpenAPI` description says, and never with a server error.
//! Afterwards the database is checked: refused requests must not leave anything behind.
//!
//! `PARLEY_FUZZ_ROUNDS` sets the number of rounds and `PARLEY_FUZZ_SEED` repeats a run; the test prints the seed.

mod bodies;
mod values;
mod whole;

use std::fmt::Write as _;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value as Json;

use super::body_schema;
use crate::support::{
    api_fixture::Person,
    app::{PLATFORM, TestApp},
    database::Backend,
    http::Http,
    on_both,
};
use bodies::dressed;
use values::{anything, value};

on_both!(generated_requests_are_answered_as_described);

/// The default number of rounds over all routes. `./test nightly` sets a larger one.
const ROUNDS: u64 = 12;

/// After this many rounds, at least one request must have stored a file.
const ROUNDS_FOR_A_FILE: u64 = 40;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A contact that uses the client API.
struct Visitor {
    inbox_identifier: String,
    person: Person,
}

/// A path with ids filled in, sometimes with a query.
fn path(rng: &mut StdRng, template: &str, operation: &Json, nth: usize, visitor: &Visitor) -> String {
    let parts = template.split('/').map(|part| match part {
        "{account_id}" if template.starts_with("/api/") && !rng.random_bool(0.02) => "1".to_owned(),
        // Spare the account, the user and the inbox that the test itself needs.
        "{account_id}" | "{user_id}" | "{agent_id}" => (*["2", "99", "x"].choose(rng).expect("there are some")).to_owned(),
        "{inbox_id}" if operation["x-parley-writes"] == true => "2".to_owned(),
        "{inbox_identifier}" if !rng.random_bool(0.1) => visitor.inbox_identifier.clone(),
        "{contact_identifier}" if !rng.random_bool(0.1) => visitor.person.source.clone(),
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

/// The name of the body field that takes files, if there is one.
fn file_field(schema: &Json, components: &Json) -> Option<&'static str> {
    let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
    let text = name.map_or(schema, |name| &components["schemas"][name]).to_string();
    let field = ["attachments", "avatar"]
        .into_iter()
        .find(|field| text.contains(&format!("\"{field}\":")))?;
    Some(if field == "avatar" { field } else { "attachments[]" })
}

async fn generated_requests_are_answered_as_described(backend: Backend) {
    let rounds = setting("PARLEY_FUZZ_ROUNDS").unwrap_or(ROUNDS);
    let seed = setting("PARLEY_FUZZ_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {rounds} rounds");
    let mut rng = StdRng::seed_from_u64(seed);
    let app = TestApp::builder(backend).platform().start().await;
    let (http, operator) = (app.http(), app.http().with_token(PLATFORM));
    let document = http.description().await.document().clone();
    let operations = http.description().await.operations();
    let inbox = http.ask("/inboxes/1").await.1;
    let inbox_identifier = inbox["inbox_identifier"].as_str().expect("an API inbox has one").to_owned();
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for nth in 0..usize::try_from(rounds).expect("not that many") {
        let fixture = app.fixture();
        let person = fixture.person("Asha Rao").await;
        let conversation = fixture.conversation(&person).await.id;
        fixture.hear(conversation, "hello").await;
        let visitor = Visitor {
            inbox_identifier: inbox_identifier.clone(),
            person,
        };
        for (method, template) in &operations {
            let operation = &document["paths"][template][method.to_ascii_lowercase()];
            // This response ends only when the client disconnects.
            if operation["operationId"] == "followEvents" {
                continue;
            }
            let by: &Http = if operation["x-parley-caller"] == "platform" {
                &operator
            } else {
                &http
            };
            let path = path(&mut rng, template, operation, nth, &visitor);
            let mut request = by.request(method, &path);
            let schema = body_schema(operation);
            if schema.is_object() {
                let body = value(&mut rng, schema, &document["components"], 4);
                request = dressed(&mut rng, request, &body, file_field(schema, &document["components"]));
            }
            // Also validates the response against the OpenAPI description.
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
    assert!(
        answers.keys().any(|status| *status == 200) && answers.contains_key(&422),
        "{answers:?}"
    );
    let files = whole::assert_whole(&app, &format!("seed {seed}")).await;
    assert!(
        files > 0 || rounds < ROUNDS_FOR_A_FILE,
        "seed {seed}: no file was taken by anything"
    );
}
