//! Translates failed calls for command-line users: names options instead of request fields, and says what to change.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Exit, hint, print_error};

/// Prints why a call failed. If Parley itself returned the error, names the options that set the invalid fields; otherwise checks for the
/// typical symptoms of a wrong address or certificate.
pub async fn explain(status: &Status, server: &str) -> Exit {
    let Some(info) = status.get_details_error_info() else {
        let message = hint::for_status(status, server)
            .await
            .unwrap_or_else(|| format!("{server}: {} ({:?})", status.message(), status.code()));
        print_error(&message);
        return Exit::Failure;
    };
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    if violations.is_empty() {
        print_error(status.message());
    }
    for violation in &violations {
        print_error(&format!("{} {}", option_for(&violation.field), violation.description));
    }
    if matches!(info.reason.as_str(), "TOKEN_INVALID" | "TOKEN_MISSING") {
        print_error("check --token or PARLEY_TOKEN; on the host of the database, `parley token create --offline` creates another");
    }
    if status.code() == Code::InvalidArgument {
        Exit::Usage
    } else {
        Exit::Failure
    }
}

/// Returns the command-line option that sets a request field.
fn option_for(field: &str) -> String {
    let last = field.rsplit('.').next().unwrap_or(field);
    let last = last.split('[').next().unwrap_or(last);
    match last {
        "" => "the request".to_owned(),
        "token_id" => "the token's id".to_owned(),
        "kinds" => "--kind".to_owned(),
        "after" | "at" | "start" => "--from".to_owned(),
        "expires_at" => "--expires".to_owned(),
        other => {
            let name = other.strip_suffix("_ids").or_else(|| other.strip_suffix("_id")).unwrap_or(other);
            format!("--{}", name.replace('_', "-"))
        }
    }
}

/// Prints the invalid arguments of an offline command, each with the option that sets it.
pub fn print_violations(violations: &[parley_types::error::FieldViolation]) {
    for violation in violations {
        print_error(&format!("{} {}", option_for(&violation.field), violation.description));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_shown_as_their_options() {
        for (field, expected) in [
            ("account_id", "--account"),
            ("agent_bot_id", "--agent-bot"),
            ("inbox_ids", "--inbox"),
            ("filter.inbox_ids[3]", "--inbox"),
            ("inbox.name", "--name"),
            ("user_id", "--user"),
            ("expires_at", "--expires"),
            ("email", "--email"),
            ("after", "--from"),
        ] {
            assert_eq!(option_for(field), expected, "{field}");
        }
    }
}
