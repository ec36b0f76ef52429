//! The entry point of the fuzz target for templates. Not part of the API of the crate.

use serde_json::{Map, json};

use super::{CONTENT, Compiled, person};

/// Compiles and renders a template in the same way as the content of a caller's message.
pub fn template(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() > CONTENT {
        return;
    }
    let mut contact = person("asha RAO");
    contact.insert("email".to_owned(), json!("asha@example.org"));
    contact.insert(
        "custom_attribute".to_owned(),
        json!({"plan": "gold", "long": "x".repeat(2000), "list": [1, "b"]}),
    );
    let mut drops = Map::new();
    drops.insert("contact".to_owned(), json!(contact));
    parley_compute::run_as_worker(|| {
        if let Ok(compiled) = Compiled::new(&text) {
            let _ = compiled.fill(drops);
        }
    });
}
