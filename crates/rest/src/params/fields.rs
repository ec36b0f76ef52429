//! Typed access to parameters, as lenient as Chatwoot. Violations are collected instead of stopping at the first.

use std::collections::BTreeSet;

use prost_types::{Struct, Timestamp};
use serde_json::{Map, Value as Json};

use crate::{
    errors::{ApiError, field_error::FieldError},
    json::values::Named,
    params::{Params, attributes, timestamps},
};

/// An id that no resource has. It replaces an invalid id, so that the caller is authorized before "not found" is returned.
const UNKNOWN_ID: i64 = i64::MAX;

/// Reads the parameters of one object, and collects their violations.
#[derive(Debug)]
pub struct ParamReader<'a> {
    map: &'a Map<String, Json>,
    params: &'a Params,
    prefix: String,
    field_errors: Vec<FieldError>,
}

impl Params {
    /// Reads the parameters of the request.
    pub fn fields(&self) -> ParamReader<'_> {
        ParamReader::new(self)
    }

    /// Reads the object under a root key. A JSON body may omit the key if it has at least one of the attributes at the top level.
    ///
    /// # Errors
    /// Returns 422, naming the key, if the object is absent or empty and the key cannot be omitted.
    pub fn root(&self, key: &str, attributes: &[&str]) -> Result<ParamReader<'_>, ApiError> {
        match self.map.get(key) {
            Some(Json::Object(map)) if !map.is_empty() => Ok(ParamReader::of(self, key, map)),
            None if !self.form && attributes.iter().any(|name| self.map.contains_key(*name)) => Ok(ParamReader::new(self)),
            _ => Err(ApiError::missing(key)),
        }
    }
}

impl<'a> ParamReader<'a> {
    /// Reads the parameters of the request.
    pub fn new(params: &'a Params) -> Self {
        Self {
            map: &params.map,
            params,
            prefix: String::new(),
            field_errors: Vec::new(),
        }
    }

    /// Reads the object `map`, which is at `key` of the parameters.
    pub fn of(params: &'a Params, key: &str, map: &'a Map<String, Json>) -> Self {
        Self {
            map,
            params,
            prefix: format!("{key}."),
            field_errors: Vec::new(),
        }
    }

    /// Reads the object at `key`; `None` if it is absent or empty. Any other value is a violation.
    pub fn inside(&mut self, key: &str) -> Option<ParamReader<'a>> {
        if !self.has_value(key) {
            return None;
        }
        let Some(Json::Object(map)) = self.map.get(key) else {
            self.field_errors.push(FieldError::new(key, "must be an object"));
            return None;
        };
        Some(ParamReader {
            map,
            params: self.params,
            prefix: format!("{}{key}.", self.prefix),
            field_errors: Vec::new(),
        })
    }

    /// Reads the object at `key`, if [`Self::inside`] finds it.
    pub fn nested<T>(&mut self, key: &str, read: fn(&mut ParamReader<'_>) -> T) -> Option<T> {
        let mut inner = self.inside(key)?;
        let read = read(&mut inner);
        self.field_errors.extend(inner.field_errors);
        Some(read)
    }

    /// Adds a violation.
    pub fn add_error(&mut self, field_error: FieldError) {
        self.field_errors.push(field_error);
    }

    /// Ends the reading and returns the collected violations as an error. Files that are not accepted take precedence.
    ///
    /// # Errors
    /// Returns 422: of shape A for files, and of shape B for fields (the module `errors` defines the shapes).
    pub fn finish(&self) -> Result<(), ApiError> {
        self.finish_as(ApiError::record)
    }

    /// Like [`Self::finish`], in the format of message creation.
    ///
    /// # Errors
    /// Returns 422 of shape A, which the module `errors` defines.
    pub fn finish_message(&self) -> Result<(), ApiError> {
        self.finish_as(ApiError::message)
    }

    fn finish_as(&self, failure: fn(&[FieldError]) -> ApiError) -> Result<(), ApiError> {
        if let Some(field) = self.params.files.first() {
            return Err(ApiError::no_files(field));
        }
        if self.field_errors.is_empty() {
            Ok(())
        } else {
            Err(failure(&self.field_errors))
        }
    }

    /// Returns the unparsed value.
    pub fn raw(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key)
    }

    /// Whether the key is present, even if its value is null.
    pub fn is_present(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Whether the key has a value that Rails considers present: not null, false, blank or empty.
    pub fn has_value(&self, key: &str) -> bool {
        match self.map.get(key) {
            None | Some(Json::Null | Json::Bool(false)) => false,
            Some(Json::String(text)) => !text.trim().is_empty(),
            Some(Json::Array(items)) => !items.is_empty(),
            Some(Json::Object(map)) => !map.is_empty(),
            Some(Json::Number(_) | Json::Bool(true)) => true,
        }
    }

    /// Returns a string. Numbers and booleans are converted to strings. `None` if absent or null.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.map.get(key)? {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            Json::Bool(bool) => Some(bool.to_string()),
            Json::Number(number) if number.is_i64() || !self.is_inexact(key) => Some(number.to_string()),
            Json::Number(_) => {
                self.field_errors.push(FieldError::inexact(key));
                None
            }
            Json::Array(_) | Json::Object(_) => {
                self.field_errors.push(FieldError::new(key, "must be a string"));
                None
            }
        }
    }

    /// Like [`Self::text`], but also `None` if blank or empty.
    pub fn filled_text(&mut self, key: &str) -> Option<String> {
        if self.has_value(key) { self.text(key) } else { None }
    }

    /// Like [`Self::text`], but `Some(None)` if null or invalid.
    #[allow(clippy::option_option)] // absent, null or a text
    pub fn nullable_text(&mut self, key: &str) -> Option<Option<String>> {
        self.is_present(key).then(|| self.text(key))
    }

    /// Returns an avatar: the upload id of a file in the form, or otherwise a URL. `None` if both are absent.
    pub fn avatar(&mut self, key: &str) -> Option<String> {
        let file = self.text(key).filter(|name| !name.trim().is_empty());
        file.or_else(|| self.text("avatar_url"))
    }

    /// Returns a boolean: `false`, `0`, `f` and `off` are false, any other value is true. `None` if absent, null or an empty string.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.map.get(key)? {
            Json::Null => None,
            Json::Bool(bool) => Some(*bool),
            Json::Number(number) => Some(number.as_f64() != Some(0.0)),
            Json::String(text) if text.is_empty() => None,
            Json::String(text) => Some(!matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "f" | "off")),
            Json::Array(_) | Json::Object(_) => Some(true),
        }
    }

    /// Returns an integer, which may also be sent as a string. `None` if absent or not an integer.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.map.get(key)? {
            Json::Number(number) => number.as_i64(),
            Json::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Returns the id of a resource. An invalid id becomes [`UNKNOWN_ID`]. `None` if absent, null or blank.
    pub fn id(&self, key: &str) -> Option<i64> {
        self.has_value(key)
            .then(|| self.integer(key).filter(|id| *id > 0).unwrap_or(UNKNOWN_ID))
    }

    /// Returns the id of a resource in the path.
    pub fn path_id(&self, key: &str) -> i64 {
        self.id(key).unwrap_or(UNKNOWN_ID)
    }

    /// Returns ids, sent as a list or as a single value. Invalid ids become [`UNKNOWN_ID`]. `None` if absent or null.
    pub fn ids(&self, key: &str) -> Option<Vec<i64>> {
        let items = match self.map.get(key)? {
            Json::Null => return None,
            Json::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let id = |item: &Json| match item {
            Json::Number(number) => number.as_i64(),
            Json::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        Some(
            items
                .iter()
                .map(|item| id(item).filter(|id| *id > 0).unwrap_or(UNKNOWN_ID))
                .collect(),
        )
    }

    /// Returns the ids of the users in a membership change.
    ///
    /// # Errors
    /// Returns 422 if `user_ids` is missing.
    pub fn users(&self) -> Result<Vec<i64>, ApiError> {
        self.ids("user_ids").ok_or_else(|| ApiError::missing("user_ids"))
    }

    /// Returns those of `keys` that are present, even if their value is null.
    pub fn sent(&self, keys: &[&str]) -> Vec<String> {
        keys.iter()
            .filter(|key| self.is_present(key))
            .map(|key| (*key).to_owned())
            .collect()
    }

    /// Returns the account id in the path.
    pub fn account(&self) -> i64 {
        self.path_id("account_id")
    }

    /// Returns the page number, counted from 1.
    pub fn page(&self) -> i64 {
        self.integer("page").unwrap_or(1).max(1)
    }

    /// Returns an attributes object. `None` if absent, null or blank; any other value is a violation.
    pub fn object(&mut self, key: &str) -> Option<Struct> {
        match self.map.get(key)? {
            Json::Object(map) => self.attributes(key, map),
            _ if !self.has_value(key) => None,
            _ => {
                self.field_errors.push(FieldError::new(key, "must be an object"));
                None
            }
        }
    }

    /// Returns an attributes object; any value of another type counts as an empty object. `None` if absent.
    pub fn object_or_default(&mut self, key: &str) -> Option<Struct> {
        match self.map.get(key)? {
            Json::Object(map) => self.attributes(key, map),
            _ => Some(Struct::default()),
        }
    }

    /// Converts the object at `key`. Adds a violation if the object is nested too deeply or contains inexact numbers.
    pub fn attributes(&mut self, key: &str, map: &Map<String, Json>) -> Option<Struct> {
        let inside = format!("{}{key}.", self.prefix);
        let inexact: BTreeSet<&str> = self.params.inexact.iter().filter_map(|path| path.strip_prefix(&inside)).collect();
        self.exact_attributes(key, map, inexact)
    }

    /// Converts the object at `key`. `inexact` contains the paths of its inexact numbers, relative to the object.
    pub fn exact_attributes<'b>(
        &mut self,
        key: &str,
        map: &Map<String, Json>,
        inexact: impl IntoIterator<Item = &'b str>,
    ) -> Option<Struct> {
        let before = self.field_errors.len();
        for path in inexact {
            self.field_errors.push(FieldError::inexact(&format!("{key}.{path}")));
        }
        if !map.values().all(attributes::is_shallow) {
            self.field_errors.push(FieldError::new(key, "is nested too deeply"));
        }
        (self.field_errors.len() == before).then(|| attributes::to_struct(map))
    }

    /// Returns strings, sent as a list or as a single value. `None` if absent or null.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let items = match self.map.get(key)? {
            Json::Null => return None,
            Json::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Json::String(text) => texts.push(text.clone()),
                Json::Number(number) => texts.push(number.to_string()),
                Json::Null => {}
                _ => {
                    self.field_errors.push(FieldError::new(key, "must be a list of strings"));
                    return None;
                }
            }
        }
        Some(texts)
    }

    /// One of several names. `None` if absent, null or blank; an unknown name is a violation.
    pub fn choice<T: Named>(&mut self, key: &str) -> Option<T> {
        if !self.has_value(key) {
            return None;
        }
        let name = match self.map.get(key)? {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        let found = T::NAMES.iter().find(|(choice, _)| *choice == name).map(|(_, value)| *value);
        if found.is_none() {
            self.field_errors.push(FieldError::invalid_choice(key, &name));
        }
        found
    }

    /// Like [`Self::choice`], but also accepts the index of the name.
    pub fn choice_or_index<T: Named>(&mut self, key: &str) -> Option<T> {
        let index = self.integer(key).and_then(|number| usize::try_from(number).ok());
        match index.and_then(|index| T::NAMES.get(index)) {
            Some((_, value)) => Some(*value),
            None => self.choice(key),
        }
    }

    /// Returns a point in time, parsed by `read`. `None` if absent, null or blank.
    pub fn time(&mut self, key: &str, read: timestamps::ParseTime) -> Option<Timestamp> {
        if !self.has_value(key) {
            return None;
        }
        let at = read(self.map.get(key)?);
        if at.is_none() {
            self.field_errors.push(FieldError::new(key, "is not a time"));
        }
        at
    }

    /// Whether a double cannot represent the number at `key` exactly.
    pub fn is_inexact(&self, key: &str) -> bool {
        self.params.inexact.contains(&format!("{}{key}", self.prefix))
    }

    /// Returns the paths of inexact numbers inside `key`, relative to it.
    pub fn inexact_inside(&self, key: &str) -> Vec<&'a str> {
        let inside = format!("{}{key}.", self.prefix);
        self.params.inexact.iter().filter_map(|path| path.strip_prefix(&inside)).collect()
    }
}
