//! Shapes of values as JSON Schema 2020-12, written as short as the shapes themselves.
//!
//! An object is closed: what it does not name it must not have. A schema with a name is a component of the description, and wherever it
//! is used it is a reference to it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value as Json, json};

/// Where components lie in the description.
const COMPONENTS: &str = "#/components/schemas/";

/// The shape of a value, with the named shapes that it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    json: Json,
    /// Shared, for many shapes refer to the same few.
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

/// The id of something.
pub fn id() -> Schema {
    plain(json!({ "type": "integer", "format": "int64", "minimum": 1 }))
}

/// A number.
pub fn number() -> Schema {
    plain(json!({ "type": "number" }))
}

/// True or false.
pub fn flag() -> Schema {
    plain(json!({ "type": "boolean" }))
}

/// A time in whole seconds since 1970.
pub fn unix() -> Schema {
    integer().note("Seconds since 1970.")
}

/// A time as ISO 8601 writes it, in UTC, with three digits of a second.
pub fn iso() -> Schema {
    plain(json!({ "type": "string", "format": "date-time" }))
}

/// Files of a form, or the signed names of files that were uploaded before.
pub fn files() -> Schema {
    list(text()).note("In a form: files, or names of uploads. In JSON: names of uploads.")
}

/// A picture of a form, or the signed name of one that was uploaded before.
pub fn avatar() -> Schema {
    text()
        .or_null()
        .note("In a form: a JPEG, PNG or GIF file of at most 15 MB, or the name of an upload. In JSON: the name of an upload.")
}

/// Null and nothing else.
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

/// This very value.
pub fn only(value: impl Into<Json>) -> Schema {
    plain(json!({ "const": value.into() }))
}

/// One of several texts.
pub fn choice(texts: &[&str]) -> Schema {
    plain(json!({ "type": "string", "enum": texts }))
}

/// One of the names of a table.
pub fn names<T>(table: &[(&str, T)]) -> Schema {
    choice(&table.iter().map(|(name, _)| *name).collect::<Vec<_>>())
}

/// Values of one shape.
pub fn list(of: Schema) -> Schema {
    Schema {
        json: json!({ "type": "array", "items": of.json }),
        named: of.named,
    }
}

/// A value of one of several shapes.
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

/// An object without keys so far; it may have none but those that are added.
pub fn object() -> Schema {
    plain(json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false }))
}

/// What hangs under a single key, as in `{"payload": …}`.
pub fn within(key: &'static str, inner: Schema) -> Schema {
    object().key(key, inner)
}

impl Schema {
    /// Adds a key that is always there. On a named object the result is another object, without a name.
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

    /// Adds several keys of one shape that are always there.
    #[must_use]
    pub fn keys(self, names: &[&str], value: &Schema) -> Self {
        names.iter().fold(self, |object, name| object.key(name, value.clone()))
    }

    /// Adds a key that may be left out.
    #[must_use]
    pub fn optional(mut self, name: &str, value: Schema) -> Self {
        self = self.inlined();
        self.named.extend(value.named);
        if let Some(Json::Object(properties)) = self.json.get_mut("properties") {
            properties.insert(name.to_owned(), value.json);
        }
        self
    }

    /// Lets an object have other keys too.
    #[must_use]
    pub fn open(mut self) -> Self {
        self = self.inlined();
        if let Json::Object(json) = &mut self.json {
            json.remove("additionalProperties");
        }
        self
    }

    /// Lets null stand for a value that is not there.
    #[must_use]
    pub fn or_null(mut self) -> Self {
        let is_simple = self.json.get("enum").is_none() && self.json.get("const").is_none();
        if let Some(Json::String(kind)) = self.json.get("type").filter(|_| is_simple) {
            self.json["type"] = json!([kind, "null"]);
            return self;
        }
        either([self, null()])
    }

    /// Says something that the shape does not.
    #[must_use]
    pub fn note(mut self, text: &str) -> Self {
        self.json["description"] = json!(text);
        self
    }

    /// Makes a component of it.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.named.insert(name, Arc::new(self.json));
        self.json = json!({ "$ref": format!("{COMPONENTS}{name}") });
        self
    }

    /// A named shape as one without a name, so that it can be changed.
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

    /// The schema, once its components are among `components`.
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
