//! Lenient deserialization of HAR files, whose values need not match the specification: one malformed entry must not end the reading.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A text or number as text, or `None` for any other value.
#[derive(Default)]
pub struct Text(pub Option<String>);

/// An HTTP status, or `None` for any other value.
#[derive(Default)]
pub struct Number(pub Option<u16>);

/// Accepts any value, and keeps texts and numbers.
struct Lenient;

enum Kept {
    Text(String),
    Number(u64),
    Other,
}

impl<'de> Visitor<'de> for Lenient {
    type Value = Kept;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Kept, E> {
        Ok(Kept::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Kept, E> {
        Ok(Kept::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kept, E> {
        Ok(Kept::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kept, E> {
        Ok(Kept::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kept, E> {
        Ok(Kept::Other)
    }

    fn visit_unit<E>(self) -> Result<Kept, E> {
        Ok(Kept::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kept, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Kept::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kept, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Kept::Other)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(Lenient)? {
            Kept::Text(text) => Self(Some(text)),
            Kept::Number(number) => Self(Some(number.to_string())),
            Kept::Other => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(Self(text.0.as_deref().and_then(super::quoted::status)))
    }
}

/// An object, or its default for any other value.
#[derive(Default)]
pub struct Object<T>(pub T);

/// The first `MOST` objects of a list; empty for any other value.
pub struct List<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Accepts an object or a list of objects, and skips any other value.
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

impl<'de, T: Default + Deserialize<'de>, const MOST: usize> Visitor<'de> for Structured<List<T, MOST>> {
    type Value = List<T, MOST>;

    skip_scalars!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T, MOST>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(List(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, MOST>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MOST
            && let Some(Object(next)) = list.next_element()?
        {
            kept.push(next);
        }
        // Skip the remaining elements without storing them, so memory stays bounded.
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List(kept))
    }
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Structured(PhantomData::<Self>))
    }
}

impl<'de, T: Default + Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Structured(PhantomData::<Self>))
    }
}
