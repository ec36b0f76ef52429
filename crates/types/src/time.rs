//! Points in time as whole microseconds since 1970, UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "sea-orm", derive(sea_orm::DeriveValueType))]
pub struct Micros(pub i64);

impl Micros {
    /// 0001-01-01T00:00:00Z, the earliest time that a `google.protobuf.Timestamp` and its JSON form can represent.
    pub const MIN: Self = Self(-62_135_596_800_000_000);

    /// The last microsecond of the year 9999, the latest that a `google.protobuf.Timestamp` and its JSON form can represent.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Returns the current time of the system clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Returns the time `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the time `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns whole seconds, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Formats the time as RFC 3339 with six fractional digits, as in the changes that an event lists. A time before [`Self::MIN`] or after
    /// [`Self::MAX`] is replaced with that limit.
    pub fn to_rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_micros(self.clamp(Self::MIN, Self::MAX).0)
            .unwrap_or_default()
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    }
}
