//! Error messages about fields, with the wording that clients of the JSON API expect.

use tonic_types::FieldViolation;

/// Maximum number of characters of the client's input that an error message repeats.
const ECHO: usize = 255;

/// Truncates the client's input to [`ECHO`] characters, for use in an error message.
pub fn echo(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(ECHO) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A violation of a rule by a request, as the JSON API reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The name of the attribute in the JSON API.
    pub attribute: String,
    /// The error message, which begins with the humanized name of the attribute.
    pub message: String,
    /// Whether the message is returned without the prefix `Validation failed: `.
    pub is_standalone: bool,
}

impl FieldError {
    /// Creates a violation from an attribute and a description of the problem.
    pub fn new(attribute: &str, text: &str) -> Self {
        Self {
            attribute: attribute.to_owned(),
            message: format!("{} {text}", humanize(attribute)),
            is_standalone: false,
        }
    }

    /// Creates the violation for a number that a double cannot represent exactly. `path` is the dotted path of the number.
    pub fn inexact(path: &str) -> Self {
        const TEXT: &str = "is a number that cannot be represented exactly";
        match path.split_once('.') {
            Some((attribute, inside)) => Self::new(attribute, &format!("{inside} {TEXT}")),
            None => Self::new(path, TEXT),
        }
    }

    /// Creates the violation for a value, `name`, that is not one of the attribute's allowed values.
    pub fn invalid_choice(attribute: &str, name: &str) -> Self {
        Self {
            attribute: attribute.to_owned(),
            message: format!("'{}' is not a valid {attribute}", echo(name)),
            is_standalone: true,
        }
    }

    /// Creates a violation that concerns the request as a whole.
    pub fn whole(message: &str) -> Self {
        Self {
            attribute: "base".to_owned(),
            message: message.to_owned(),
            is_standalone: false,
        }
    }

    /// Converts a violation that a service reported. `limit` is the limit of the violated rule, if it has one.
    pub fn of(violation: &FieldViolation, limit: Option<&str>) -> Self {
        if let Some(field) = violation.field.strip_prefix("custom_attribute_definition.") {
            let attribute = format!(
                "attribute_{}",
                field.split('[').next().unwrap_or(field).replace("type", "display_type")
            );
            return Self::new(&attribute, &text(violation, &attribute, limit));
        }
        let field = strip_parents(&violation.field);
        let (attribute, inside) = field.split_once('.').unwrap_or((field, ""));
        let attribute = attribute.split('[').next().unwrap_or(attribute);
        if inside.ends_with("agent_reply_time_window") {
            let key = "agent_reply_time_window";
            return Self::new(key, &format!("{key} must be greater than 0"));
        }
        match attribute {
            "avatar_url" if violation.reason == "OUT_OF_RANGE" => Self::new("avatar", "is too big"),
            "avatar_url" if violation.description.starts_with("must be a JPEG") => Self::new("avatar", "filetype not supported"),
            "avatar_url" if violation.reason == "UNKNOWN" => Self::new("avatar", &violation.description),
            "page_token" => Self::new("cursor", "is not a cursor of this list with these parameters"),
            // The gRPC status does not say which user is unknown.
            "user_ids" if violation.reason == "UNKNOWN" => Self::new("user", "must exist"),
            "channel" | "api_channel" => Self::new("channel", "must exist"),
            "custom_attributes" | "additional_attributes" if !inside.is_empty() => Self::new(attribute, &entry(violation, inside, limit)),
            _ => Self::new(attribute, &text(violation, attribute, limit)),
        }
    }
}

/// Strips the names of the enclosing messages from a field's path.
fn strip_parents(field: &str) -> &str {
    let mut name = field;
    for outer in [
        "account",
        "user",
        "contact",
        "conversation",
        "inbox",
        "message",
        "api_channel",
        "team",
        "label",
        "canned_response",
        "contact_note",
    ] {
        if let Some(inner) = name.strip_prefix(outer).and_then(|rest| rest.strip_prefix('.')) {
            name = inner;
        }
    }
    name
}

/// Returns the error message about one entry of an attributes object.
fn entry(violation: &FieldViolation, key: &str, limit: Option<&str>) -> String {
    match violation.reason.as_str() {
        "TOO_LONG" => format!("{key} length should be < {}", limit.unwrap_or("1500")),
        "OUT_OF_RANGE" => format!("{key} value should be < {}", limit.unwrap_or("9999999999")),
        "NOT_EXACT" => format!("{key} is a number that cannot be represented exactly"),
        _ => format!("{key} {}", violation.description),
    }
}

fn text(violation: &FieldViolation, attribute: &str, limit: Option<&str>) -> String {
    match (violation.reason.as_str(), attribute, limit) {
        ("TAKEN", ..) => "has already been taken".to_owned(),
        ("TOO_MANY", "attachments", _) => "exceeded maximum allowed".to_owned(),
        // Return error messages about items unchanged, because they name the invalid keys.
        (_, "content_attributes" | "attachments", _) => violation.description.clone(),
        ("REQUIRED", ..) if violation.field.starts_with("team.") || violation.field.starts_with("label.") => "must not be blank".to_owned(),
        ("INVALID", "title", _) => "is invalid".to_owned(),
        ("REQUIRED", ..) => "can't be blank".to_owned(),
        ("TOO_LONG", _, Some(limit)) => format!("is too long (maximum is {limit} characters)"),
        ("INVALID", "email", _) => "Invalid email".to_owned(),
        ("INVALID", "phone_number", _) => "should be in e164 format".to_owned(),
        (_, "timezone", _) => "is not included in the list".to_owned(),
        ("UNKNOWN", ..) => "must exist".to_owned(),
        _ => violation.description.clone(),
    }
}

/// Humanizes an attribute's name as Rails does: `phone_number` becomes `Phone number`, `source_id` becomes `Source`.
pub fn humanize(attribute: &str) -> String {
    let words = attribute
        .strip_suffix("_id")
        .filter(|words| !words.is_empty())
        .unwrap_or(attribute)
        .replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(field: &str, rule: &str, limit: Option<&str>) -> (String, String) {
        let mut violation = FieldViolation::new(field, "must be better");
        violation.reason = rule.to_owned();
        let field_error = FieldError::of(&violation, limit);
        (field_error.attribute, field_error.message)
    }

    #[test]
    fn field_errors_have_chatwoots_text() {
        for (field, rule, limit, attribute, message) in [
            ("email", "TAKEN", None, "email", "Email has already been taken"),
            ("contact.email", "INVALID", None, "email", "Email Invalid email"),
            (
                "phone_number",
                "INVALID",
                None,
                "phone_number",
                "Phone number should be in e164 format",
            ),
            (
                "contact.name",
                "TOO_LONG",
                Some("255"),
                "name",
                "Name is too long (maximum is 255 characters)",
            ),
            ("inbox.name", "REQUIRED", None, "name", "Name can't be blank"),
            (
                "inbox.timezone",
                "INVALID",
                None,
                "timezone",
                "Timezone is not included in the list",
            ),
            ("inbox.channel", "REQUIRED", None, "channel", "Channel must exist"),
            ("inbox.api_channel", "REQUIRED", None, "channel", "Channel must exist"),
            (
                "inbox.api_channel.webhook_url",
                "TOO_LONG",
                Some("2048"),
                "webhook_url",
                "Webhook url is too long (maximum is 2048 characters)",
            ),
            (
                "inbox.api_channel.additional_attributes.agent_reply_time_window",
                "OUT_OF_RANGE",
                Some("1"),
                "agent_reply_time_window",
                "Agent reply time window agent_reply_time_window must be greater than 0",
            ),
            (
                "custom_attributes.plan",
                "TOO_LONG",
                Some("1500"),
                "custom_attributes",
                "Custom attributes plan length should be < 1500",
            ),
            (
                "additional_attributes.n",
                "OUT_OF_RANGE",
                Some("9999999999"),
                "additional_attributes",
                "Additional attributes n value should be < 9999999999",
            ),
            (
                "message.content",
                "TOO_LONG",
                Some("150000"),
                "content",
                "Content is too long (maximum is 150000 characters)",
            ),
            (
                "message.content_attributes.items",
                "REQUIRED",
                None,
                "content_attributes",
                "Content attributes must be better",
            ),
            ("assignee_id", "UNKNOWN", None, "assignee_id", "Assignee must exist"),
            ("page_size", "OUT_OF_RANGE", Some("1000"), "page_size", "Page size must be better"),
        ] {
            assert_eq!(converted(field, rule, limit), (attribute.to_owned(), message.to_owned()), "{field}");
        }
        assert_eq!(FieldError::invalid_choice("status", "foo").message, "'foo' is not a valid status");
        assert_eq!(
            FieldError::inexact("custom_attributes.a.0").message,
            "Custom attributes a.0 is a number that cannot be represented exactly"
        );
    }
}
