//! The time formats of the JSON API: Unix seconds, and ISO 8601 with milliseconds.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use parley_proto::value::micros;
use prost_types::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::openapi::schema::inline_schema;

/// Parses a timestamp parameter. Returns `None` if it is invalid.
pub type ParseTime = fn(&Json) -> Option<Timestamp>;

/// A time in whole seconds since 1970; 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unix(i64);

impl From<Option<Timestamp>> for Unix {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.map_or(0, |at| at.seconds))
    }
}

/// A time in ISO 8601, such as `"2031-03-04T05:06:07.000Z"`; null if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iso(Option<DateTime<Utc>>);

impl Iso {
    /// Converts an optional time. Returns `None` if there is no time.
    pub fn optional(at: Option<Timestamp>) -> Option<Self> {
        at.map(|at| Self::from(Some(at)))
    }
}

impl From<Option<Timestamp>> for Iso {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)))
    }
}

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
            .serialize(serializer)
    }
}

inline_schema!(Unix, { "type": "integer", "format": "int64" });
inline_schema!(Iso, { "type": "string", "format": "date-time" });

/// Returns a time in seconds since 1970 with a fractional part, in microsecond precision.
#[allow(clippy::cast_precision_loss)] // microseconds of any valid date are below 2^53
pub fn fractional(at: Option<&Timestamp>) -> f64 {
    at.map_or(0.0, |at| {
        (at.seconds.saturating_mul(1_000_000) + i64::from(at.nanos / 1000)) as f64 / 1_000_000.0
    })
}

/// Parses a time in Unix seconds, given as a number or as text.
pub fn from_unix(value: &Json) -> Option<Timestamp> {
    let seconds = match value {
        Json::Number(number) => number.as_i64()?,
        Json::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    within_range(Timestamp { seconds, nanos: 0 })
}

/// Returns the time, or `None` if it is outside the range that the API accepts.
fn within_range(at: Timestamp) -> Option<Timestamp> {
    micros(&at).map(|_| at)
}

/// Parses a date, optionally followed by a time of day. A time without an offset is in UTC.
pub fn from_iso(value: &Json) -> Option<Timestamp> {
    let text = value.as_str()?.trim();
    let plain = text.strip_suffix(" UTC").unwrap_or(text);
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| plain.parse::<NaiveDateTime>().map(|at| at.and_utc()))
        .or_else(|_| NaiveDateTime::parse_from_str(plain, "%Y-%m-%d %H:%M:%S%.f").map(|at| at.and_utc()))
        .or_else(|_| plain.parse::<NaiveDate>().map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc()))
        .ok()?;
    within_range(Timestamp {
        seconds: at.timestamp(),
        // chrono represents a leap second as a nanosecond count above one second. Clamp it to the end of the previous second.
        nanos: i32::try_from(at.timestamp_subsec_nanos().min(999_999_999)).ok()?,
    })
}

/// Returns the time that is `seconds` before now, by the system clock.
pub fn ago(seconds: i64) -> Timestamp {
    let now = chrono::Utc::now().timestamp();
    Timestamp {
        seconds: now.saturating_sub(seconds).max(0),
        nanos: 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_times() {
        let at = Timestamp {
            seconds: 1_931_000_100,
            nanos: 412_345_678,
        };
        assert_eq!(json!(Unix::from(Some(at))), 1_931_000_100);
        assert_eq!(json!(fractional(Some(&at))).to_string(), "1931000100.412345");
        assert_eq!(json!(Iso::from(Some(at))), "2031-03-11T12:55:00.412Z");
        assert_eq!((json!(Unix::from(None)), json!(Iso::from(None))), (json!(0), Json::Null));
    }

    #[test]
    fn parses_times() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        assert_eq!(from_unix(&json!(1_931_000_100)), at(1_931_000_100));
        assert_eq!(from_unix(&json!("1931000100")), at(1_931_000_100));
        assert_eq!((from_unix(&json!("soon")), from_unix(&json!(i64::MAX))), (None, None));
        for text in [
            "2031-03-11T12:55:00Z",
            "2031-03-11T14:55:00.000+02:00",
            "2031-03-11T12:55:00",
            "2031-03-11 12:55:00 UTC",
        ] {
            assert_eq!(from_iso(&json!(text)), at(1_931_000_100), "{text}");
        }
        assert_eq!(from_iso(&json!("2031-03-11")), at(1_930_953_600));
        assert_eq!(from_iso(&json!("tomorrow")), None);
        assert_eq!(from_unix(&json!(253_402_300_799_i64)), at(253_402_300_799));
        assert_eq!(from_unix(&json!(-62_135_596_800_i64)), at(-62_135_596_800));
        // The last two are one second out of range; the others are milliseconds.
        for seconds in [1_931_000_100_000, -1_931_000_100_000, 253_402_300_800, -62_135_596_801_i64] {
            assert_eq!(from_unix(&json!(seconds)), None);
            assert_eq!(from_unix(&json!(seconds.to_string())), None);
        }
        assert_eq!(from_iso(&json!("0001-01-01T00:00:00Z")), at(-62_135_596_800));
        for text in [
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59-00:01",
            "+58882-08-06T07:36:40.000Z",
            "+10000-01-01",
            "-0001-01-01",
        ] {
            assert_eq!(from_iso(&json!(text)), None, "{text}");
        }
        assert_eq!(from_iso(&json!("2016-12-31T23:59:60Z")).map(|at| at.nanos), Some(999_999_999));
    }
}
