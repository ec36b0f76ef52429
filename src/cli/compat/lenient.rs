//! Lenient deserialization of HAR files, whose values need not match the specification: a malformed entry must not prevent the rest of a
//! file from being read.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A string, or a number converted to a string. Contains `None` for any other JSON value.
#[derive(Default)]
pub struct Text(pub Option<String>);

/// An HTTP status, given as a number or a string. Contains `None` for any other JSON value.
#[derive(Default)]
pub struct Number(pub Option<u16>);

/// Visitor that accepts any JSON value, but keeps only strings and non-negative integers.
struct ScalarVisitor;

enum Scalar {
    Text(String),
    Number(u64),
    Other,
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Self(Some(text)),
            Scalar::Number(number) => Self(Some(number.to_string())),
            Scalar::Other => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(Self(text.0.as_deref().and_then(super::access_log::status)))
    }
}

/// A deserialized JSON object, or the default of `T` for any other JSON value.
#[derive(Default)]
pub struct Object<T>(pub T);

/// The first `MAX_ITEMS` objects of a JSON list, or an empty list for any other JSON value.
pub struct List<T, const MAX_ITEMS: usize>(pub Vec<T>);

impl<T, const MAX_ITEMS: usize> Default for List<T, MAX_ITEMS> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Visitor that deserializes an `Object` or a `List`, and skips JSON values of other types.
struct Structured<T>(PhantomData<T>);

/// Implements visitor methods that skip values of other types and return the default.
macro_rules! skip_scalars {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
}

impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Structured<Object<T>> {
    type Value = Object<T>;

    skip_scalars!();

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Object<T>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Object::default())
    }
}

impl<'de, T: Default + Deserialize<'de>, const MAX_ITEMS: usize> Visitor<'de> for Structured<List<T, MAX_ITEMS>> {
    type Value = List<T, MAX_ITEMS>;

    skip_scalars!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T, MAX_ITEMS>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(List(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, MAX_ITEMS>, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX_ITEMS
            && let Some(Object(next)) = list.next_element()?
        {
            items.push(next);
        }
        // Skip the remaining elements without storing them, so memory stays bounded.
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List(items))
    }
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Structured(PhantomData::<Self>))
    }
}

impl<'de, T: Default + Deserialize<'de>, const MAX_ITEMS: usize> Deserialize<'de> for List<T, MAX_ITEMS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Structured(PhantomData::<Self>))
    }
}
