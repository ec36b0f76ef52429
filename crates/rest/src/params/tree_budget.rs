//! Limits the number of values that a request body or query may contain: a value of a few bytes, such as `0,` or `a[]=`, takes many times
//! its size in memory.

use parley_fault::Protection;

/// Maximum number of JSON values in one request.
const VALUES: usize = 50_000;

/// Maximum number of non-empty objects in one request. Each one takes a B-tree node of about 650 bytes, regardless of its content.
const OBJECTS: usize = 5_000;

/// Maximum length of a JSON key in bytes.
pub const KEY_BYTES: usize = 512;

/// A limit that a request exceeds, with its description for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(pub &'static str);

impl TooLarge {
    /// The limit on the number of values.
    pub const VALUES: Self = Self("must have at most 50000 values");
    /// The limit on the number of non-empty objects.
    pub const OBJECTS: Self = Self("must have at most 5000 objects");
    /// The limit on the length of a JSON key.
    pub const KEY: Self = Self("must have keys of at most 512 bytes");
    /// The limit on the length of a number.
    pub const NUMBER: Self = Self("must have numbers of at most 2048 digits");
    /// The limit on the count of numbers that a double cannot represent exactly.
    pub const INEXACT: Self = Self("must have at most 16 numbers that cannot be represented exactly");
    /// The limit on the total digits of integers whose exact expansion is computed.
    pub const EXPANDED: Self = Self("must have at most 16384 digits in integers beyond 2^53");
    /// The limit on the number of fields in a form.
    pub const FIELDS: Self = Self("must have at most 4096 form fields");
    /// The limit on the length of a form field's name.
    pub const NAME: Self = Self("must have field names of at most 1024 bytes");
    /// The limit on the length of a multipart preamble or part header.
    pub const PART_HEADER: Self = Self("must have part headers of at most 16384 bytes");
}

/// The remaining budget for the values of one request.
#[derive(Debug)]
pub struct TreeBudget {
    values: usize,
    objects: usize,
}

impl Default for TreeBudget {
    fn default() -> Self {
        Self {
            values: VALUES,
            objects: OBJECTS,
        }
    }
}

impl TreeBudget {
    /// Counts a value of any kind.
    ///
    /// # Errors
    /// Returns [`TooLarge::VALUES`] if the budget is used up.
    pub fn value(&mut self) -> Result<(), TooLarge> {
        self.values = take(self.values, TooLarge::VALUES)?;
        Ok(())
    }

    /// Counts an object when its first key is inserted, in addition to counting it as a value.
    ///
    /// # Errors
    /// Returns [`TooLarge::OBJECTS`] if the budget is used up.
    pub fn object(&mut self) -> Result<(), TooLarge> {
        self.objects = take(self.objects, TooLarge::OBJECTS)?;
        Ok(())
    }
}

/// Decrements one of the budgets.
///
/// # Errors
/// Returns `limit` if the budget is used up.
pub fn take(left: usize, limit: TooLarge) -> Result<usize, TooLarge> {
    match left.checked_sub(1) {
        Some(left) => Ok(left),
        None if parley_fault::is_on(Protection::RequestTree) => Err(limit),
        None => Ok(0),
    }
}

/// Returns whether a length exceeds its limit.
pub fn exceeds(length: usize, limit: usize) -> bool {
    length > limit && parley_fault::is_on(Protection::RequestTree)
}
