//! Defines the comparison operators that filters can use.

/// An operator that compares an attribute with values, or tests whether it is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are self-explanatory
pub enum Operator {
    EqualTo,
    NotEqualTo,
    Contains,
    DoesNotContain,
    IsPresent,
    IsNotPresent,
    IsGreaterThan,
    IsLessThan,
    DaysBefore,
    StartsWith,
}

impl Operator {
    /// Returns the operator's name as it appears in requests and error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::EqualTo => "equal_to",
            Self::NotEqualTo => "not_equal_to",
            Self::Contains => "contains",
            Self::DoesNotContain => "does_not_contain",
            Self::IsPresent => "is_present",
            Self::IsNotPresent => "is_not_present",
            Self::IsGreaterThan => "is_greater_than",
            Self::IsLessThan => "is_less_than",
            Self::DaysBefore => "days_before",
            Self::StartsWith => "starts_with",
        }
    }

    /// Returns whether the operator needs values to compare with.
    pub(super) fn needs_values(self) -> bool {
        !matches!(self, Self::IsPresent | Self::IsNotPresent)
    }
}
