//! Changes of fields, as events list them.

use std::borrow::Cow;

use parley_types::time::Micros;
use serde_json::Value as Json;

/// A field that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The field's name in the resource.
    pub field: Cow<'static, str>,
    /// The value before.
    pub before: Json,
    /// The value after.
    pub after: Json,
    /// Both as times, where the values are times.
    pub times: Option<[Option<Micros>; 2]>,
}

impl Change {
    /// A change, unless both are the same.
    pub fn new(field: impl Into<Cow<'static, str>>, before: impl Into<Json>, after: impl Into<Json>) -> Option<Self> {
        let (before, after) = (before.into(), after.into());
        (before != after).then(|| Self {
            field: field.into(),
            before,
            after,
            times: None,
        })
    }

    /// A change of a time, unless both are the same.
    pub fn time(field: &'static str, before: Option<Micros>, after: Option<Micros>) -> Option<Self> {
        let text = |at: Option<Micros>| at.map_or(Json::Null, |at| Json::String(at.to_rfc3339()));
        (before != after).then(|| Self {
            field: field.into(),
            before: text(before),
            after: text(after),
            times: Some([before, after]),
        })
    }
}
