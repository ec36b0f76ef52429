//! Declares the parameters of an object in a request, for the document. Requests are read leniently, by `fields`, and not by these types.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json};

use crate::openapi::schema::Parameters;

/// Declares the names and types of parameters, all of them optional.
macro_rules! params {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $visibility struct $name;

        impl crate::openapi::schema::Parameters for $name {
            fn parameters() -> Vec<(&'static str, crate::openapi::schema::Declared)> {
                vec![$((stringify!($field), crate::openapi::schema::declared::<$type>())),*]
            }
        }
    };
}
pub(crate) use params;

/// An object with the parameters `P`.
pub struct Nested<P>(PhantomData<P>);

impl<P: Parameters> JsonSchema for Nested<P> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Nested".into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let properties = P::parameters().into_iter();
        let properties: Map<String, Json> = properties
            .map(|(name, declared)| (name.to_owned(), declared(generator).to_value()))
            .collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}
