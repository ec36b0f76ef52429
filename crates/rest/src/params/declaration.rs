//! Declares the parameters of requests, each in one place: its name, its type in the document and how it is read. Requests are read
//! leniently, by `fields`, and not with serde.

use std::{borrow::Cow, marker::PhantomData};

use prost_types::{Struct, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json};

use crate::{
    call::Call,
    errors::ApiError,
    json::values::{Id, Name, Named, OneOf},
    openapi::schema::Parameters,
    params::{
        Params,
        attributes::Attributes,
        fields::ParamReader,
        timestamps::{self, Iso, Unix},
    },
};

/// Parameters that are read from a request, declared by [`params!`].
pub trait RequestParams: Parameters + Sized {
    /// Reads the parameters in the order in which they are declared. Violations are collected in `fields`.
    fn read(fields: &mut ParamReader<'_>) -> Self;
}

impl ParamReader<'_> {
    /// Reads the parameters `P`.
    pub fn read<P: RequestParams>(&mut self) -> P {
        P::read(self)
    }

    /// Reads the parameters `P`, and reports all violations in `self`.
    ///
    /// # Errors
    /// As for [`Self::finish`].
    pub fn parse<P: RequestParams>(&mut self) -> Result<P, ApiError> {
        let read = P::read(self);
        self.finish().map(|()| read)
    }
}

impl Call {
    /// Reads the parameters `P` of a request about an account.
    ///
    /// # Errors
    /// As for [`Self::authorize_error`].
    pub async fn parse<P: RequestParams>(&self, params: &Params) -> Result<P, ApiError> {
        let mut fields = params.fields();
        self.authorize_error(fields.account(), fields.parse()).await
    }

    /// Like [`Self::parse`], under a root key. Also returns the names of the parameters that were sent.
    ///
    /// # Errors
    /// As for [`Self::authorize_error`].
    pub async fn parse_root<P: RequestParams>(&self, params: &Params, key: &str) -> Result<(P, Vec<String>), ApiError> {
        let account_id = params.fields().account();
        let mut fields = self.authorize_error(account_id, params.root(key, P::NAMES)).await?;
        let read = self.authorize_error(account_id, fields.parse()).await?;
        Ok((read, fields.sent(P::NAMES)))
    }
}

/// A type that a parameter can have.
pub trait Param: JsonSchema {
    /// The type of the value that is read.
    type Value;
    /// Reads a parameter; `None` if it is absent or invalid. Violations are collected in `fields`.
    fn read(fields: &mut ParamReader<'_>, name: &str) -> Option<Self::Value>;
}

/// Implements [`Param`].
macro_rules! param {
    ($type:ty => $value:ty, |$fields:ident, $name:ident| $read:expr $(, for $generic:ident: $bound:ident)?) => {
        impl$(<$generic: $bound>)? crate::params::declaration::Param for $type {
            type Value = $value;

            fn read($fields: &mut crate::params::fields::ParamReader<'_>, $name: &str) -> Option<$value> {
                $read
            }
        }
    };
}
pub(crate) use param;

param!(String => String, |fields, name| fields.text(name));
param!(bool => bool, |fields, name| fields.flag(name));
param!(Id => i64, |fields, name| fields.id(name));
param!(Attributes => Struct, |fields, name| fields.object(name));
param!(Iso => Timestamp, |fields, name| fields.time(name, timestamps::from_iso));
param!(Unix => Timestamp, |fields, name| fields.time(name, timestamps::from_unix));
param!(Vec<String> => Vec<String>, |fields, name| fields.texts(name));
param!(Option<T> => T::Value, |fields, name| T::read(fields, name), for T: Param);
param!(Name<E> => E, |fields, name| fields.choice(name), for E: Named);
param!(OneOf<Name<E>, i64> => E, |fields, name| fields.choice_or_index(name), for E: Named);
param!(Nested<P> => P, |fields, name| fields.nested(name, P::read), for P: RequestParams);

/// Declares parameters, all of them optional, as a struct of the values that are read.
///
/// ```ignore
/// params! {
///     struct TeamParams {
///         name: String, // the field has the type `Option<String>`
///         users: Vec<Id> as Vec<i64> = users, // read by the function `users(fields, "users")`
///     }
/// }
/// ```
macro_rules! params {
    ($(
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty $(as $value:ty = $read:path)?),* $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        #[allow(clippy::option_option, clippy::struct_field_names)] // null is a value; the API's contract has chosen the names
        $visibility struct $name {
            $($(#[$field_meta])* $visibility $field: crate::params::declaration::params!(@value $type $(, $value)?),)*
        }

        impl crate::openapi::schema::Parameters for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            fn schemas() -> Vec<crate::openapi::schema::Declared> {
                vec![$(crate::openapi::schema::declared::<$type>()),*]
            }
        }

        impl crate::params::declaration::RequestParams for $name {
            fn read(fields: &mut crate::params::fields::ParamReader<'_>) -> Self {
                Self { $($field: crate::params::declaration::params!(@read fields, $field, $type $(, $read)?)),* }
            }
        }
    )+};
    (@value $type:ty) => { Option<<$type as crate::params::declaration::Param>::Value> };
    (@value $type:ty, $value:ty) => { $value };
    (@read $fields:ident, $field:ident, $type:ty) => {
        <$type as crate::params::declaration::Param>::read($fields, stringify!($field))
    };
    (@read $fields:ident, $field:ident, $type:ty, $read:path) => { $read($fields, stringify!($field)) };
}
pub(crate) use params;

/// Declares the type of a string parameter that accepts only certain values.
macro_rules! choice {
    ($visibility:vis $name:ident, $texts:tt) => {
        $visibility struct $name;

        crate::openapi::schema::inline_schema!($name, { "type": "string", "enum": $texts });
        crate::params::declaration::param!($name => String, |fields, name| fields.text(name));
    };
}
pub(crate) use choice;

choice!(pub OnOrOff, ["on", "off"]);

/// An object with the parameters `P`.
#[derive(Debug)]
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
        let parameters = P::NAMES.iter().zip(P::schemas());
        let properties: Map<String, Json> = parameters
            .map(|(name, declared)| ((*name).to_owned(), declared(generator).to_value()))
            .collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}
