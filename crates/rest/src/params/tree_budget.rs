//! How much one request may build from its text: a value of two bytes, such as `0,` or `a[]=`, takes many times its size in memory.

use parley_fault::Protection;

/// Values in one request.
const VALUES: usize = 50_000;

/// Objects with anything in them. Each takes a node of a B-tree, about 650 bytes, whatever it holds.
const OBJECTS: usize = 5_000;

/// Bytes of a key in JSON.
pub const KEY_BYTES: usize = 512;

/// A limit that a request exceeds; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(pub &'static str);

impl TooLarge {
    /// Too many values.
    pub const VALUES: Self = Self("must have at most 50000 values");
    /// Too many objects.
    pub const OBJECTS: Self = Self("must have at most 5000 objects");
    /// A key that is too long.
    pub const KEY: Self = Self("must have keys of at most 512 bytes");
    /// A number that is too long.
    pub const NUMBER: Self = Self("must have numbers of at most 2048 digits");
    /// Too many numbers that would be rounded.
    pub const INEXACT: Self = Self("must have at most 16 numbers that cannot be kept exactly");
    /// Too many digits of integers that a double holds, but spells shorter.
    pub const EXPANDED: Self = Self("must have at most 16384 digits in integers beyond 2^53");
    /// Too many fields of a form.
    pub const FIELDS: Self = Self("must have at most 4096 form fields");
    /// The name of a form field that is too long.
    pub const NAME: Self = Self("must have field names of at most 1024 bytes");
    /// A preamble or the header of a part that is too long.
    pub const PART_HEADER: Self = Self("must have part headers of at most 16384 bytes");
}

/// What one request may still build.
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
    /// Counts one value of any kind.
    ///
    /// # Errors
    /// [`TooLarge::VALUES`].
    pub fn value(&mut self) -> Result<(), TooLarge> {
        self.values = take(self.values, TooLarge::VALUES)?;
        Ok(())
    }

    /// Counts an object that gets its first key, beside its value.
    ///
    /// # Errors
    /// [`TooLarge::OBJECTS`].
    pub fn object(&mut self) -> Result<(), TooLarge> {
        self.objects = take(self.objects, TooLarge::OBJECTS)?;
        Ok(())
    }
}

/// What is left after one more.
///
/// # Errors
/// `limit`, if nothing is.
pub fn take(left: usize, limit: TooLarge) -> Result<usize, TooLarge> {
    match left.checked_sub(1) {
        Some(left) => Ok(left),
        None if parley_fault::is_on(Protection::RequestTree) => Err(limit),
        None => Ok(0),
    }
}

/// Whether a length is beyond its limit.
pub fn exceeds(length: usize, limit: usize) -> bool {
    length > limit && parley_fault::is_on(Protection::RequestTree)
}
