//! Declares the parameters of requests, each in one place: its name, its type and how it is read.

use std::{borrow::Cow, marker::PhantomData};

use prost_types::Struct;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json};

use crate::{
    json::values::{Id, Name, Named},
    openapi::schema::Parameters,
    params::{attributes::Attributes, fields::ParamReader},
};

/// The type of a parameter in the document, and how its value is read: as leniently as in Chatwoot.
pub trait Param: JsonSchema {
    /// What is read.
    type Value;

    /// Reads a parameter. `None` if it is absent, null or invalid; the reader collects the violations.
    fn read(fields: &mut ParamReader<'_>, key: &str) -> Option<Self::Value>;
}

macro_rules! param {
    ($type:ty, $value:ty, $read:ident) => {
        impl Param for $type {
            type Value = $value;

            fn read(fields: &mut ParamReader<'_>, key: &str) -> Option<$value> {
                fields.$read(key)
            }
        }
    };
}

param!(String, String, text);
param!(bool, bool, flag);
param!(i64, i64, integer);
param!(Id, i64, id);
param!(Attributes, Struct, object);
param!(Vec<String>, Vec<String>, texts);
param!(Vec<Id>, Vec<i64>, ids);

/// A parameter that may be null, which clears the value.
impl<P: Param> Param for Option<P> {
    type Value = P::Value;

    fn read(fields: &mut ParamReader<'_>, key: &str) -> Option<P::Value> {
        P::read(fields, key)
    }
}

impl<T: Named> Param for Name<T> {
    type Value = T;

    fn read(fields: &mut ParamReader<'_>, key: &str) -> Option<T> {
        fields.choice(key)
    }
}

/// A parameter of type `T` that its request reads in a way of its own.
pub struct Raw<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Raw<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> Param for Raw<T> {
    type Value = ();

    fn read(_: &mut ParamReader<'_>, _: &str) -> Option<()> {
        None
    }
}

/// Declares the parameters of a request as a struct of optional values.
///
/// ```ignore
/// params! {
///     /// What creates and updates a team.
///     pub struct TeamParams {
///         name: String,
///         description: Option<String>, // may be null
///     }
/// }
/// describe("createTeam", …).accepts::<TeamParams>()
/// let team = TeamParams::read(&mut fields);
/// ```
///
/// The parameters are read in the order of the fields, which is that of their violations in a response.
macro_rules! params {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[allow(dead_code)] // A request does not read what is `Raw`.
        $visibility struct $name {
            $($field: Option<<$type as $crate::params::declaration::Param>::Value>,)*
        }

        #[allow(dead_code)] // A request may read all of its parameters in a way of its own.
        impl $name {
            /// The names of the parameters.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Reads the parameters.
            pub fn read(fields: &mut $crate::params::fields::ParamReader<'_>) -> Self {
                Self {
                    $($field: <$type as $crate::params::declaration::Param>::read(fields, stringify!($field)),)*
                }
            }
        }

        impl $crate::openapi::schema::Parameters for $name {
            fn parameters() -> Vec<(&'static str, $crate::openapi::schema::Declared)> {
                vec![$((stringify!($field), $crate::openapi::schema::declared::<$type>())),*]
            }
        }
    };
}
pub(crate) use params;

/// An object with the parameters `P`, all of them optional.
pub struct Nested<P>(PhantomData<P>);

impl<P: Parameters> JsonSchema for Nested<P> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Nested".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let properties = P::parameters().into_iter();
        let properties: Map<String, Json> = properties
            .map(|(name, declared)| (name.to_owned(), declared(generator).to_value()))
            .collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}
