//! Value types and wrapper objects that several resources of the JSON API share.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::openapi::schema::inline_schema;

/// The id of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Id(pub i64);

inline_schema!(Id, { "type": "integer", "format": "int64", "minimum": 1 });

impl From<i64> for Id {
    fn from(id: i64) -> Self {
        Self(id)
    }
}

/// Any JSON value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Any(pub Json);

inline_schema!(Any, {});

/// An enum of the gRPC API whose values have names in the JSON API.
pub trait Named: Copy + PartialEq + 'static {
    /// The values with their names. Some requests also accept a value's index in this list instead of its name.
    const NAMES: &'static [(&'static str, Self)];
}

/// An enum value that is represented by its name. A value without a name is represented by the first name in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<T>(pub T);

impl<T: Named> Name<T> {
    /// Returns the value as a [`Name`], or `None` if it has no name.
    pub fn known(value: T) -> Option<Self> {
        T::NAMES.iter().any(|(_, named)| *named == value).then_some(Self(value))
    }
}

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = T::NAMES.iter().find(|(_, named)| *named == self.0).or(T::NAMES.first());
        named.map(|(name, _)| *name).serialize(serializer)
    }
}

impl<T: Named> JsonSchema for Name<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// Declares a type that has only one value, as in `"type": "contact"`.
macro_rules! constant {
    ($visibility:vis $name:ident, $value:literal) => {
        #[derive(Debug)]
        $visibility struct $name;

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$value, serializer)
            }
        }

        crate::openapi::schema::inline_schema!($name, { "const": $value });
    };
}
pub(crate) use constant;

// A JSON object without keys.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub struct Empty {}

/// Declares an object with a single key, for use as a wrapper.
macro_rules! one_key {
    ($visibility:vis $name:ident { $key:ident }) => {
        #[derive(Debug, serde::Serialize, schemars::JsonSchema)]
        #[schemars(inline)]
        $visibility struct $name<T> {
            pub $key: T,
        }
    };
}
pub(crate) use one_key;

one_key!(pub Payload { payload });

// A list in the key `payload`, with its metadata in the key `meta`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct List<M, T> {
    pub meta: M,
    pub payload: T,
}

// A value of one of two types, encoded without a tag.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOf<A, B> {
    First(A),
    Second(B),
}
