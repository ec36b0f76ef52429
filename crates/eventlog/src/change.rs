//! Field changes, as listed in events.

use std::borrow::Cow;

use parley_types::time::Micros;
use serde_json::Value as Json;

/// A field whose value changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The name of the field in the resource.
    pub field: Cow<'static, str>,
    pub before: Json,
    pub after: Json,
    /// The values before and after the change as times, or `None` if the field does not hold a time.
    pub times: Option<[Option<Micros>; 2]>,
}

impl Change {
    /// Returns the change, or `None` if the values are equal.
    pub fn new(field: impl Into<Cow<'static, str>>, before: impl Into<Json>, after: impl Into<Json>) -> Option<Self> {
        let (before, after) = (before.into(), after.into());
        (before != after).then(|| Self {
            field: field.into(),
            before,
            after,
            times: None,
        })
    }

    /// Like [`Self::new`], for a field that holds a time.
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
