//! Generates the schemas of types that implement `JsonSchema`. A type without `#[schemars(inline)]` is a component of the document under its
//! name and is used by reference.
//!
//! The keys of a response are complete, so its objects are closed. Those of a request are open, because unknown parameters are ignored.

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform as _},
};
use serde_json::{Map, Value as Json, json};

/// Generates the schema of one type.
pub type Declared = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub fn declared<T: JsonSchema>() -> Declared {
    SchemaGenerator::subschema_for::<T>
}

/// The parameters of an object in a request.
pub trait Parameters {
    /// Their names.
    const NAMES: &'static [&'static str];
    /// Their types, in the order of the names.
    fn schemas() -> Vec<Declared>;
}

/// The schemas of the document.
pub struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Schemas {
    /// Creates an empty set.
    pub fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        Self {
            requests: settings.clone().for_deserialize().into_generator(),
            responses: settings.for_serialize().into_generator(),
        }
    }

    /// The schema of a parameter or a field of a body.
    pub fn request(&mut self, declared: Declared) -> Json {
        with_separate_null(declared(&mut self.requests)).to_value()
    }

    /// The schema of a response.
    pub fn response(&mut self, declared: Declared) -> Json {
        closed(declared(&mut self.responses)).to_value()
    }

    /// The named schemas that the generated ones refer to.
    pub fn into_components(mut self) -> Map<String, Json> {
        let responses = self.responses.take_definitions(false).into_iter();
        let closed = responses.map(|(name, schema)| {
            (
                name,
                Schema::try_from(schema).map_or(Json::Bool(true), |schema| closed(schema).to_value()),
            )
        });
        let mut components: Map<String, Json> = closed.collect();
        let requests = self.requests.take_definitions(false).into_iter();
        components.extend(requests.map(|(name, schema)| {
            (
                name,
                Schema::try_from(schema).map_or(Json::Bool(true), |schema| with_separate_null(schema).to_value()),
            )
        }));
        components
    }
}

/// Rejects keys that an object does not list.
fn closed(mut schema: Schema) -> Schema {
    fn close(schema: &mut Schema) {
        if schema.get("properties").is_some() {
            schema.insert("additionalProperties".to_owned(), Json::Bool(false));
        }
    }
    RecursiveTransform(close as fn(&mut Schema)).transform(&mut schema);
    with_separate_null(schema)
}

/// Separates null from enumerations, because code generators would otherwise change the names of the enumerations. Removes defaults, because
/// generated clients would send them.
fn with_separate_null(mut schema: Schema) -> Schema {
    fn separate(schema: &mut Schema) {
        schema.remove("default");
        if let Some(Json::Array(values)) = schema.get_mut("enum")
            && let Some(at) = values.iter().position(Json::is_null)
        {
            values.remove(at);
            let values = schema.remove("enum");
            schema.remove("type");
            schema.insert(
                "anyOf".to_owned(),
                json!([{ "type": "string", "enum": values }, { "type": "null" }]),
            );
        }
    }
    RecursiveTransform(separate as fn(&mut Schema)).transform(&mut schema);
    schema
}

/// Implements `JsonSchema` for a type without a name in the document.
macro_rules! inline_schema {
    ($type:ty, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use inline_schema;

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Inner {
        id: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(required)]
        note: Option<String>,
        error: Option<String>,
    }

    #[derive(Serialize, JsonSchema)]
    #[schemars(inline)]
    struct Outer {
        payload: Vec<Option<Inner>>,
    }

    #[test]
    fn responses_are_closed_and_refer_to_components() {
        let mut schemas = Schemas::new();
        let outer = schemas.response(declared::<Outer>());
        assert_eq!(
            outer["properties"]["payload"]["items"],
            json!({ "anyOf": [{ "$ref": "#/components/schemas/Inner" }, { "type": "null" }] })
        );
        assert_eq!(outer["additionalProperties"], json!(false));
        let inner = &schemas.into_components()["Inner"];
        assert_eq!(
            (&inner["required"], &inner["additionalProperties"]),
            (&json!(["id", "error"]), &json!(false))
        );
        assert_eq!(inner["properties"]["note"]["type"], "string");
        assert_eq!(inner["properties"]["error"]["type"], json!(["string", "null"]));
    }
}
