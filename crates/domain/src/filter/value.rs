//! Parses the values of filter conditions. Each parsing function returns `None` if the value is invalid.

use chrono::{Days, NaiveDate};
use parley_types::time::Micros;
use serde_json::Value as Json;

/// The maximum number of characters of a string in a condition, because databases limit the length of patterns.
const LONGEST: usize = 1500;
/// The number of microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// Parses a string. Numbers and booleans are converted to their JSON text.
pub fn text(value: &Json) -> Option<String> {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(bool) => bool.to_string(),
        _ => return None,
    };
    (text.chars().count() <= LONGEST && !text.contains('\0')).then_some(text)
}

/// Parses an integer, which may be given as a JSON string.
pub fn integer(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Parses a finite number, which may be given as a JSON string.
pub fn number(value: &Json) -> Option<f64> {
    let number: f64 = match value {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Parses a boolean, which may be given as a JSON string in any letter case.
pub fn flag(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(bool) => Some(*bool),
        Json::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// Parses a date whose year is between 1 and 9999.
pub fn day(value: &Json) -> Option<NaiveDate> {
    use chrono::Datelike as _;
    let day: NaiveDate = value.as_str()?.trim().parse().ok()?;
    (1..=9999).contains(&day.year()).then_some(day)
}

/// Returns the date that is `value` days before the current day in UTC.
pub fn days_before(value: &Json, now: Micros) -> Option<NaiveDate> {
    use chrono::Datelike as _;
    let days = u64::try_from(integer(value)?).ok()?;
    let today = chrono::DateTime::from_timestamp_micros(now.0)?.date_naive();
    let day = today.checked_sub_days(Days::new(days))?;
    (1..=9999).contains(&day.year()).then_some(day)
}

/// Returns the time at which a day begins, in UTC.
pub fn begins(day: NaiveDate) -> Micros {
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    Micros(days.saturating_mul(DAY))
}

/// Returns the time at which a day ends in UTC, which is when the next day begins.
pub fn ends(day: NaiveDate) -> Micros {
    Micros(begins(day).0.saturating_add(DAY))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_are_in_utc() {
        let day = day(&json!("1970-01-02")).unwrap();
        assert_eq!((begins(day), ends(day)), (Micros(DAY), Micros(2 * DAY)));
        let now = Micros(10 * DAY + 5);
        assert_eq!(days_before(&json!("9"), now), Some(day));
        assert_eq!(days_before(&json!(i64::MAX), now), None);
        assert_eq!(days_before(&json!(-1), now), None);
        for no_day in [json!("2024-02-30"), json!("2024"), json!(5), json!("now"), json!("-0001-01-01")] {
            assert_eq!(super::day(&no_day), None, "{no_day}");
        }
    }

    #[test]
    fn invalid_values_are_none() {
        assert_eq!(
            (integer(&json!("7")), integer(&json!(7.5)), integer(&json!("x"))),
            (Some(7), None, None)
        );
        assert_eq!(
            (number(&json!("1.5")), number(&json!("inf")), number(&json!("NaN"))),
            (Some(1.5), None, None)
        );
        assert_eq!((flag(&json!("TRUE")), flag(&json!(1))), (Some(true), None));
        assert_eq!((text(&json!("a\0")), text(&json!({}))), (None, None));
    }
}
