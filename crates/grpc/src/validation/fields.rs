//! Validates the fields of requests and collects every violation.

use parley_fault::Protection;
use parley_proto::value::{micros, object};
use parley_telemetry::escape::is_unsafe;
use parley_types::{
    attribute_limits::{self, AttributeSize},
    error::{Error, FieldViolation, Result, Rule},
    time::Micros,
};
use prost_types::{Struct, Timestamp};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

/// Maximum length of a short string field in characters, unless the contract specifies another length.
pub const SHORT_TEXT: usize = 255;

/// Maximum number of violations to collect, which is more than fit into a status.
const VIOLATIONS: usize = 200;

/// The additional attributes of contacts that are indexed for search, sorting and filters.
const INDEXED: [&str; 5] = ["company_name", "company", "city", "country", "country_code"];

/// Collects the violations of a request's fields.
#[derive(Debug, Default)]
pub struct Validator {
    violations: Vec<FieldViolation>,
    prefix: String,
}

impl Validator {
    /// Adds a violation, unless the maximum of [`VIOLATIONS`] has been reached.
    pub fn add_violation(&mut self, field: &str, rule: Rule, description: impl Into<String>) {
        if self.violations.len() < VIOLATIONS {
            self.violations
                .push(FieldViolation::new(format!("{}{field}", self.prefix), rule, description));
        }
    }

    /// Adds a violation for a path in an update mask that does not name a changeable field. The mask is a top-level field of the request,
    /// so the field name in the violation is not prefixed.
    pub fn unknown_path(&mut self, path: &str) {
        let description = format!("must name fields that can be changed; {path} is not one of them");
        if self.violations.len() < VIOLATIONS {
            self.violations.push(FieldViolation::new("update_mask", Rule::Unknown, description));
        }
    }

    /// Validates the fields of a nested message: the violations that `check` adds are prefixed with `field`.
    pub fn within<T>(&mut self, field: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.prefix.len();
        self.prefix.push_str(field);
        self.prefix.push('.');
        let checked = check(self);
        self.prefix.truncate(length);
        checked
    }

    /// Ends the validation and returns the violations as an error.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with all violations if any were added.
    pub fn finish(self) -> Result<()> {
        if self.violations.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.violations))
        }
    }

    /// Validates the length of a string in characters, and rejects NUL, which PostgreSQL cannot store.
    pub fn text(&mut self, field: &str, text: &str, limit: usize) {
        // A character has at least one byte, so only strings with more bytes than the limit need their characters counted.
        if text.len() > limit && text.chars().count() > limit {
            self.add_violation(field, Rule::TooLong(limit), format!("must have at most {limit} characters"));
        }
        if text.contains('\0') {
            self.add_violation(field, Rule::Invalid, "must not contain the character NUL");
        }
    }

    /// Like [`Validator::text`], for a string that must not be blank.
    pub fn required(&mut self, field: &str, text: &str, limit: usize) {
        if text.trim().is_empty() {
            self.add_violation(field, Rule::Required, "must not be blank");
        }
        self.text(field, text, limit);
    }

    /// Like [`Validator::required`], but also returns the string as the new value of a field in a patch.
    #[expect(clippy::unnecessary_wraps, reason = "a field of a patch is optional")]
    pub fn given(&mut self, field: &str, text: &str, limit: usize) -> Option<String> {
        self.required(field, text, limit);
        Some(text.to_owned())
    }

    /// Like [`Validator::text`], for a name that appears in logs and terminals: rejects line breaks and other control characters.
    pub fn name(&mut self, field: &str, name: &str, limit: usize) {
        self.text(field, name, limit);
        if name.chars().any(is_unsafe) {
            self.add_violation(field, Rule::Invalid, "must not contain control characters");
        }
    }

    /// Like [`Validator::name`], for a name that must not be blank.
    pub fn required_name(&mut self, field: &str, name: &str, limit: usize) {
        if name.trim().is_empty() {
            self.add_violation(field, Rule::Required, "must not be blank");
        }
        self.name(field, name, limit);
    }

    /// Validates an optional string. A blank string counts as absent.
    pub fn optional(&mut self, field: &str, text: Option<String>, limit: usize) -> Option<String> {
        let text = text.filter(|text| !text.trim().is_empty())?;
        self.text(field, &text, limit);
        Some(text)
    }

    /// Validates a required id, which must be positive.
    pub fn id(&mut self, field: &str, id: i64) -> i64 {
        if id <= 0 {
            self.add_violation(field, Rule::Required, "must be a positive id");
        }
        id
    }

    /// Validates an e-mail address by Chatwoot's pattern and converts it to lower case.
    pub fn email(&mut self, field: &str, email: Option<String>) -> Option<String> {
        let email = self.optional(field, email, SHORT_TEXT)?.trim().to_lowercase();
        let fits = email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        if !fits || email.chars().any(char::is_whitespace) {
            self.add_violation(field, Rule::Invalid, "must be an address such as ana@example.org");
        }
        Some(email)
    }

    /// Validates a phone number by Chatwoot's pattern, which is not anchored at the start, so any text may precede the number.
    pub fn phone_number(&mut self, field: &str, number: Option<String>) -> Option<String> {
        let number = self.optional(field, number, SHORT_TEXT)?;
        let digits = number.rsplit_once('+').map_or("", |(_, digits)| digits);
        let fits = (2..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        if !fits {
            self.add_violation(field, Rule::Invalid, "must end with a number in E.164 form, such as +351912345678");
        }
        Some(number)
    }

    /// Validates an absolute URL with the scheme http or https. An empty string counts as absent.
    pub fn url(&mut self, field: &str, url: &str, limit: usize) {
        self.text(field, url, limit);
        let web = url
            .parse::<http::Uri>()
            .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !url.is_empty() && !web {
            self.add_violation(field, Rule::Invalid, "must be an absolute http or https URL");
        }
    }

    /// Validates an avatar, which is a URL or the id of an upload that is resolved later. An empty string counts as absent.
    pub fn avatar(&mut self, field: &str, url: &str, limit: usize) {
        let name = url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if name {
            self.text(field, url, limit);
        } else {
            self.url(field, url, limit);
        }
    }

    /// Validates an angle in degrees, between `-most` and `most`.
    pub fn degrees(&mut self, field: &str, degrees: f64, most: i64) {
        #[allow(clippy::cast_precision_loss)] // 90 or 180, which a double represents exactly
        if degrees.is_nan() || degrees.abs() > most as f64 {
            self.add_violation(field, Rule::OutOfRange(most), format!("must be -{most} to {most}"));
        }
    }

    /// Validates the attribute map of a new resource against [`parley_types::attribute_limits`]. Returns an empty map if the map is absent.
    pub fn attributes(&mut self, field: &str, attributes: Option<&Struct>) -> Map<String, Json> {
        let object = self.attribute_update(field, attributes);
        if !object.is_empty() {
            let size = AttributeSize::of_map(&object);
            // `attribute_update` has already reported a map that is nested too deeply.
            if size.levels <= attribute_limits::LEVELS
                && let Some(violation) = attribute_limits::violation(field, size)
            {
                self.add_violation(field, violation.rule, violation.description);
            }
        }
        object
    }

    /// Validates an attribute map that replaces or patches a stored one. Only the nesting is checked here. The domain command checks bytes
    /// and keys ([`attribute_limits::check_change`]), because the limits apply to the resulting map, and a stored map that exceeds them may
    /// be reduced in size.
    pub fn attribute_update(&mut self, field: &str, attributes: Option<&Struct>) -> Map<String, Json> {
        let Some(attributes) = attributes else { return Map::new() };
        match object(attributes) {
            Ok(object) => {
                if object.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
                    self.add_violation(field, Rule::Invalid, "must not contain the character NUL");
                }
                let nesting = AttributeSize {
                    levels: AttributeSize::of_map(&object).levels,
                    ..AttributeSize::default()
                };
                if let Some(violation) = attribute_limits::violation(field, nesting) {
                    self.add_violation(field, violation.rule, violation.description);
                }
                object
            }
            Err(path) => {
                self.add_violation(&format!("{field}.{path}"), Rule::NotExact, "must be a finite number");
                Map::new()
            }
        }
    }

    /// Validates the additional attributes of a contact that are indexed for search, sorting and filters. Each may be at most
    /// [`SHORT_TEXT`] characters long.
    pub fn indexed_attributes(&mut self, field: &str, attributes: &Map<String, Json>) {
        if !parley_fault::is_on(Protection::IndexedTexts) {
            return;
        }
        for key in INDEXED {
            if let Some(Json::String(text)) = attributes.get(key) {
                self.text(&format!("{field}.{key}"), text, SHORT_TEXT);
            }
        }
    }

    /// Like [`Validator::attributes`], but for a conversation, whose attribute values have Chatwoot's limits.
    pub fn conversation_attributes(&mut self, field: &str, attributes: Option<&Struct>) -> Map<String, Json> {
        let object = self.attributes(field, attributes);
        self.conversation_entries(field, &object);
        object
    }

    /// Like [`Validator::attribute_update`], but for a conversation, whose attribute values have Chatwoot's limits.
    pub fn conversation_attribute_update(&mut self, field: &str, attributes: Option<&Struct>) -> Map<String, Json> {
        let object = self.attribute_update(field, attributes);
        self.conversation_entries(field, &object);
        object
    }

    fn conversation_entries(&mut self, field: &str, object: &Map<String, Json>) {
        for (key, value) in object {
            let path = format!("{field}.{key}");
            match value {
                Json::String(text) if text.chars().count() > 1500 => {
                    self.add_violation(&path, Rule::TooLong(1500), "must have at most 1500 characters");
                }
                Json::Number(number) if number.as_f64().is_some_and(|number| number > 9_999_999_999.0) => {
                    self.add_violation(&path, Rule::OutOfRange(9_999_999_999), "must be at most 9999999999");
                }
                _ => {}
            }
        }
    }

    /// Validates a point in time.
    pub fn time(&mut self, field: &str, at: Option<&Timestamp>) -> Option<Micros> {
        let at = at?;
        let read = micros(at);
        if read.is_none() {
            let bound = if at.seconds < Micros::MIN.seconds() {
                Micros::MIN
            } else {
                Micros::MAX
            };
            let description = "must be a time between 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z";
            self.add_violation(field, Rule::OutOfRange(bound.seconds()), description);
        }
        read
    }

    /// Validates the number of an enum value in the contract. 0 means unspecified.
    pub fn kind<W: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<W> {
        if number == 0 {
            return None;
        }
        let kind = W::try_from(number).ok();
        if kind.is_none() {
            self.add_violation(field, Rule::Unknown, "must be one of the values that the contract defines");
        }
        kind
    }

    /// Validates the number of entries in a list.
    pub fn count(&mut self, field: &str, count: usize, limit: usize) {
        if count > limit {
            self.add_violation(field, Rule::TooMany(limit), format!("must have at most {limit} entries"));
        }
    }

    /// Normalizes labels: splits them at commas, trims them, and removes duplicates, preserving the order.
    pub fn labels(&mut self, field: &str, labels: &[String]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in labels
            .iter()
            .flat_map(|label| label.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            self.text(field, name, SHORT_TEXT);
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        self.count(field, names.len(), 100);
        names
    }

    /// Validates a request id. An empty string counts as absent.
    pub fn request_id(&mut self, id: &str) -> Option<Uuid> {
        if id.is_empty() {
            return None;
        }
        let uuid = Uuid::parse_str(id).ok();
        if uuid.is_none() {
            // The id is a top-level field of the request, so the field name in the violation is not prefixed.
            self.violations.push(FieldViolation::new(
                "request_id",
                Rule::Invalid,
                "must be a UUID, such as 0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1",
            ));
        }
        uuid
    }
}

/// Returns a message that the request must contain.
///
/// # Errors
/// Returns [`Error::Invalid`] if the message is absent.
pub fn required<T>(field: &str, message: Option<T>) -> Result<T> {
    message.ok_or_else(|| Error::invalid(field, Rule::Required, "must be given"))
}

fn holds_nul(json: &Json) -> bool {
    match json {
        Json::String(text) => text.contains('\0'),
        Json::Array(items) => items.iter().any(holds_nul),
        Json::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broken(check: impl FnOnce(&mut Validator)) -> Vec<String> {
        let mut fields = Validator::default();
        check(&mut fields);
        fields.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn email_addresses_and_phone_numbers_follow_chatwoots_patterns() {
        let email = |text: &str| broken(|fields| drop(fields.email("email", Some(text.to_owned())))).is_empty();
        assert!(email("Ana@Example.org") && email("a@b") && email(" "));
        assert!(!email("ana") && !email("a@b@c") && !email("a b@c") && !email("@b"));
        let phone = |text: &str| broken(|fields| drop(fields.phone_number("phone", Some(text.to_owned())))).is_empty();
        assert!(phone("+351912345678") && phone("call +351912345678") && phone(""));
        assert!(!phone("351912345678") && !phone("+0351912345") && !phone("+1") && !phone("+1234567890123456"));
    }

    #[test]
    fn reports_the_path_of_every_invalid_field() {
        let bad = broken(|fields| {
            fields.required("name", " ", SHORT_TEXT);
            fields.within("message", |fields| fields.text("content", &"x".repeat(11), 10));
            fields.url("avatar_url", "example.org/a.png", 2048);
        });
        assert_eq!(bad, ["name", "message.content", "avatar_url"]);
    }

    #[test]
    fn names_reject_control_characters() {
        let bad = |name: &str| broken(|fields| fields.name("name", name, SHORT_TEXT));
        for name in ["", "Ünïcode – „quoted“", "\u{1f469}\u{200d}\u{1f4bb} bot"] {
            assert!(bad(name).is_empty(), "{name:?}");
        }
        for name in ["a\nb", "a\rb", "a\tb", "\u{1b}[2J", "\u{9b}2J", "\u{202e}b", "\u{2028}"] {
            assert_eq!(bad(name), ["name"], "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn labels_are_trimmed_split_and_unique(labels in prop::collection::vec("[ab, ]{0,6}", 0..6)) {
            let names = Validator::default().labels("labels", &labels);
            for (nth, name) in names.iter().enumerate() {
                prop_assert!(!name.is_empty() && name.trim() == name && !name.contains(','));
                prop_assert!(!names[..nth].contains(name));
            }
        }
    }
}
