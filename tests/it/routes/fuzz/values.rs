//! Random JSON values.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value as Json, json};

/// An arbitrary value. Ids are never 1, which is the account, the user and the inbox that the test needs.
pub fn anything(rng: &mut StdRng, depth: u32) -> Json {
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

/// A value close to what a schema expects, or an arbitrary one.
pub fn value(rng: &mut StdRng, schema: &Json, components: &Json, depth: u32) -> Json {
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
