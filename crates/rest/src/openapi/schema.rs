//! A concise notation for JSON Schema 2020-12.
//!
//! Objects are closed: keys that are not listed are not allowed. A named schema is a component of the document and is used by reference.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value as Json, json};

/// The path of schema components in the document.
const COMPONENTS: &str = "#/components/schemas/";

/// A schema, with the named schemas that it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    json: Json,
    /// Shared, because many schemas refer to the same few.
    named: BTreeMap<&'static str, Arc<Json>>,
}

fn plain(json: Json) -> Schema {
    Schema {
        json,
        named: BTreeMap::new(),
    }
}

/// Any text.
pub fn text() -> Schema {
    plain(json!({ "type": "string" }))
}

/// A whole number.
pub fn integer() -> Schema {
    plain(json!({ "type": "integer", "format": "int64" }))
}

/// The id of a resource.
pub fn id() -> Schema {
    plain(json!({ "type": "integer", "format": "int64", "minimum": 1 }))
}

/// A number.
pub fn number() -> Schema {
    plain(json!({ "type": "number" }))
}

/// A boolean.
pub fn flag() -> Schema {
    plain(json!({ "type": "boolean" }))
}

/// A time in whole seconds since 1970.
pub fn unix() -> Schema {
    integer().note("Seconds since 1970.")
}

/// A time in ISO 8601, in UTC, with milliseconds.
pub fn iso() -> Schema {
    plain(json!({ "type": "string", "format": "date-time" }))
}

/// Files of a form, or the ids of earlier uploads.
pub fn files() -> Schema {
    list(text()).note("In a form: files, or names of uploads. In JSON: names of uploads.")
}

/// An image of a form, or the id of an earlier upload.
pub fn avatar() -> Schema {
    text()
        .or_null()
        .note("In a form: a JPEG, PNG or GIF file of at most 15 MB, or the name of an upload. In JSON: the name of an upload.")
}

/// Only null.
pub fn null() -> Schema {
    plain(json!({ "type": "null" }))
}

/// Any value.
pub fn anything() -> Schema {
    plain(json!({}))
}

/// An object with any keys, such as custom attributes.
pub fn attributes() -> Schema {
    plain(json!({ "type": "object" }))
}

/// Exactly this value.
pub fn only(value: impl Into<Json>) -> Schema {
    plain(json!({ "const": value.into() }))
}

/// One of several texts.
pub fn choice(texts: &[&str]) -> Schema {
    plain(json!({ "type": "string", "enum": texts }))
}

/// One of the names in a table.
pub fn names<T>(table: &[(&str, T)]) -> Schema {
    choice(&table.iter().map(|(name, _)| *name).collect::<Vec<_>>())
}

/// A list of values with the same schema.
pub fn list(of: Schema) -> Schema {
    Schema {
        json: json!({ "type": "array", "items": of.json }),
        named: of.named,
    }
}

/// A value with one of several schemas.
pub fn either(shapes: impl IntoIterator<Item = Schema>) -> Schema {
    let mut named = BTreeMap::new();
    let any: Vec<Json> = shapes
        .into_iter()
        .map(|shape| {
            named.extend(shape.named);
            shape.json
        })
        .collect();
    Schema {
        json: json!({ "anyOf": any }),
        named,
    }
}

/// A closed object without keys.
pub fn object() -> Schema {
    plain(json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false }))
}

/// An object with a single key, as in `{"payload": …}`.
pub fn within(key: &'static str, inner: Schema) -> Schema {
    object().key(key, inner)
}

impl Schema {
    /// Adds a required key. Adding to a named object returns another object without a name.
    #[must_use]
    pub fn key(self, name: &str, value: Schema) -> Self {
        let mut with = self.optional(name, value);
        if let Some(Json::Array(required)) = with.json.get_mut("required")
            && !required.contains(&json!(name))
        {
            required.push(json!(name));
        }
        with
    }

    /// Adds several required keys with the same schema.
    #[must_use]
    pub fn keys(self, names: &[&str], value: &Schema) -> Self {
        names.iter().fold(self, |object, name| object.key(name, value.clone()))
    }

    /// Adds an optional key.
    #[must_use]
    pub fn optional(mut self, name: &str, value: Schema) -> Self {
        self = self.inlined();
        self.named.extend(value.named);
        if let Some(Json::Object(properties)) = self.json.get_mut("properties") {
            properties.insert(name.to_owned(), value.json);
        }
        self
    }

    /// Allows other keys in an object.
    #[must_use]
    pub fn open(mut self) -> Self {
        self = self.inlined();
        if let Json::Object(json) = &mut self.json {
            json.remove("additionalProperties");
        }
        self
    }

    /// Allows null as well.
    #[must_use]
    pub fn or_null(mut self) -> Self {
        let is_simple = self.json.get("enum").is_none() && self.json.get("const").is_none();
        if let Some(Json::String(kind)) = self.json.get("type").filter(|_| is_simple) {
            self.json["type"] = json!([kind, "null"]);
            return self;
        }
        either([self, null()])
    }

    /// Adds a description.
    #[must_use]
    pub fn note(mut self, text: &str) -> Self {
        self.json["description"] = json!(text);
        self
    }

    /// Makes it a named component.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.named.insert(name, Arc::new(self.json));
        self.json = json!({ "$ref": format!("{COMPONENTS}{name}") });
        self
    }

    /// Replaces a reference to a named schema by its definition, so that it can be modified.
    fn inlined(mut self) -> Self {
        let target = self
            .json
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|path| path.strip_prefix(COMPONENTS));
        if let Some(definition) = target.and_then(|name| self.named.get(name)) {
            self.json = Json::clone(definition);
        }
        self
    }

    /// Returns the schema after adding its named schemas to `components`.
    pub fn put(&self, components: &mut Map<String, Json>) -> Json {
        for (name, definition) in &self.named {
            let known = components.entry(*name).or_insert_with(|| Json::clone(definition));
            debug_assert_eq!(known, &**definition, "two shapes are named {name}");
        }
        self.json.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_components_are_collected() {
        let inner = object().key("id", id()).optional("note", text().or_null()).named("Inner");
        let outer = within("payload", list(inner.clone().or_null()));
        let mut components = Map::new();
        let json = outer.put(&mut components);
        assert_eq!(
            json["properties"]["payload"]["items"],
            json!({ "anyOf": [{ "$ref": "#/components/schemas/Inner" }, { "type": "null" }] })
        );
        assert_eq!(
            (&components["Inner"]["required"], &components["Inner"]["additionalProperties"]),
            (&json!(["id"]), &json!(false))
        );
        assert_eq!(components["Inner"]["properties"]["note"]["type"], json!(["string", "null"]));
        let wider = inner.key("more", flag());
        assert_eq!(wider.put(&mut components)["required"], json!(["id", "more"]));
    }
}
