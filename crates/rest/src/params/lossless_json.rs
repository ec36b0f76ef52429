//! A JSON parser that reports numbers that would lose precision.
//!
//! `serde_json` may parse a fraction with a wrong last digit, and rejects a whole document because of one number that is too large.
//! Attributes are transferred as doubles, so a number that a double cannot represent exactly must be reported to the caller with the path
//! of its field.
//!
//! The parser runs before authentication, so its memory must be linear in the length of the document: the number of values and objects, the
//! depth, the length of keys, and the number of reported paths are limited while parsing.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Map, Number, Value as Json};

use crate::params::tree_budget::{KEY_BYTES, TooLarge, TreeBudget, exceeds};

/// Maximum nesting depth, as in `serde_json`.
const DEPTH: usize = 128;

/// Maximum bytes of one number. The exact decimal expansion of any double has fewer than 1,100 significant digits.
const NUMBER_BYTES: usize = 2048;

/// Maximum total bytes of the integers in one document whose exact decimal expansion is computed. Computing an expansion takes time
/// quadratic in the number of digits.
const EXPANDED_BYTES: usize = 16 * 1024;

/// The number of significant decimal digits that a double always preserves.
const PRESERVED_DIGITS: usize = 15;

/// Maximum number of inexact numbers. A document with more of them is rejected, because every inexact number must be reported.
const INEXACT: usize = 16;

/// Maximum bytes of a reported path. A longer path is truncated.
const PATH_BYTES: usize = 256;

/// Why a document was rejected.
#[derive(Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The document is not valid JSON.
    Malformed,
    /// The document exceeds a limit.
    TooLarge(TooLarge),
}

use ParseError::Malformed;

impl From<TooLarge> for ParseError {
    fn from(limit: TooLarge) -> Self {
        Self::TooLarge(limit)
    }
}

/// Parses one JSON value, and returns the dotted paths (with list positions as numbers) of numbers that a double cannot represent exactly.
/// In the returned value, such a number is an integer if it fits into 64 bits, and otherwise a rounded double that must not be used. Paths
/// longer than 256 bytes are truncated.
///
/// # Errors
/// Returns [`ParseError::Malformed`] if the document is not valid JSON or nested more than 128 levels deep. Returns
/// [`ParseError::TooLarge`] if the document exceeds [`TreeBudget`], a key or number is too long, there are more than 16 inexact numbers, or
/// the long integers exceed 16 KiB in total.
pub fn parse(text: &str) -> Result<(Json, BTreeSet<String>), ParseError> {
    let mut reader = Reader {
        text,
        at: 0,
        path: Vec::new(),
        inexact: BTreeSet::new(),
        expanded: 0,
        found: 0,
        budget: TreeBudget::default(),
    };
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() {
        Ok((value, reader.inexact))
    } else {
        Err(Malformed)
    }
}

/// One step of the path to a value: an object key or a list position.
enum Step {
    Key(String),
    Index(usize),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step>,
    inexact: BTreeSet<String>,
    /// Total bytes of the integers whose exact expansion was computed so far.
    expanded: usize,
    /// The number of inexact numbers so far. It can exceed the number of paths, because a repeated key or a truncated path can yield the
    /// same path twice.
    found: usize,
    budget: TreeBudget,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ParseError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(Malformed)
        }
    }

    fn value(&mut self) -> Result<Json, ParseError> {
        self.budget.value()?;
        self.space();
        match self.peek().ok_or(Malformed)? {
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => self.string().map(Json::String),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    /// Parses the value at the path step `step` within the current value.
    fn inner(&mut self, step: Step) -> Result<Json, ParseError> {
        if self.path.len() == DEPTH {
            return Err(Malformed);
        }
        self.path.push(step);
        let value = self.value();
        self.path.pop();
        value
    }

    fn object(&mut self) -> Result<Json, ParseError> {
        self.at += 1;
        let mut map = Map::new();
        if self.eat(b'}') {
            return Ok(Json::Object(map));
        }
        loop {
            self.space();
            let key = self.string()?;
            if exceeds(key.len(), KEY_BYTES) {
                return Err(TooLarge::KEY.into());
            }
            if !self.eat(b':') {
                return Err(Malformed);
            }
            if map.is_empty() {
                self.budget.object()?;
            }
            let value = self.inner(Step::Key(key.clone()))?;
            map.insert(key, value);
            if self.eat(b'}') {
                return Ok(Json::Object(map));
            }
            if !self.eat(b',') {
                return Err(Malformed);
            }
        }
    }

    fn list(&mut self) -> Result<Json, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.inner(Step::Index(items.len()))?);
            if self.eat(b']') {
                return Ok(Json::Array(items));
            }
            if !self.eat(b',') {
                return Err(Malformed);
            }
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(Malformed);
        }
        let mut at = start + 1;
        loop {
            match bytes.get(at).ok_or(Malformed)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| Malformed)
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let literal = &rest[..length];
        if exceeds(length, NUMBER_BYTES) {
            return Err(TooLarge::NUMBER.into());
        }
        if !well_formed(literal) {
            return Err(Malformed);
        }
        self.at += length;
        let double: f64 = literal.parse().map_err(|_| Malformed)?;
        if !self.is_exact(literal, double)? {
            self.found += 1;
            if exceeds(self.found, INEXACT) {
                return Err(TooLarge::INEXACT.into());
            }
            let path = self.dotted_path();
            self.inexact.insert(path);
        }
        let integer = literal.parse::<i64>().map(Number::from);
        Ok(Json::Number(match integer {
            Ok(integer) => integer,
            Err(_) => Number::from_f64(double).or_else(|| Number::from_f64(f64::MAX)).ok_or(Malformed)?,
        }))
    }
}

impl Reader<'_> {
    /// Returns whether a double represents the number exactly: either the double's shortest representation has the same digits, or the
    /// number is the exact integer value of the double.
    ///
    /// # Errors
    /// Returns [`TooLarge::EXPANDED`] if the integers that need an expansion have too many digits in total.
    fn is_exact(&mut self, literal: &str, double: f64) -> Result<bool, TooLarge> {
        if literal.len() <= PRESERVED_DIGITS && !literal.contains(['e', 'E']) {
            return Ok(true);
        }
        if !double.is_finite() {
            return Ok(false);
        }
        if normal(literal) == normal(&format!("{double:e}")) {
            return Ok(true);
        }
        if let Ok(integer) = literal.parse::<i64>() {
            // The conversion is lossless for a double within the range of `i64`; a double beyond that range is not equal to any `i64`.
            #[allow(clippy::cast_possible_truncation)]
            let held = double as i128;
            return Ok(held == i128::from(integer));
        }
        // The digits of the literal are compared with those of the double, which are written without a fraction and an exponent. A literal
        // with either counts as inexact, even if it is numerically equal.
        if literal.contains(['.', 'e', 'E']) {
            return Ok(false);
        }
        self.expanded += literal.len();
        if exceeds(self.expanded, EXPANDED_BYTES) {
            return Err(TooLarge::EXPANDED);
        }
        Ok(literal == format!("{double:.0}"))
    }

    /// Returns the path of the current value, truncated to [`PATH_BYTES`].
    fn dotted_path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if !path.is_empty() {
                path.push('.');
            }
            match step {
                Step::Key(key) => path.push_str(key),
                // Writing to a `String` cannot fail.
                Step::Index(index) => {
                    let _ = write!(path, "{index}");
                }
            }
            if exceeds(path.len(), PATH_BYTES) {
                path.truncate(path.floor_char_boundary(PATH_BYTES));
                path.push('…');
                break;
            }
        }
        path
    }
}

/// Returns whether a literal matches the number grammar of RFC 8259, section 6.
fn well_formed(literal: &str) -> bool {
    let (mantissa, exponent) = match literal.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (literal, None),
    };
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

/// Normalizes a decimal number to its sign, its significant digits, and the power of ten of its last digit. Returns `None` if the power
/// overflows.
fn normal(literal: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        return Some((false, String::new(), 0));
    }
    let dropped = i64::try_from(digits.len() - short.len()).ok()?;
    let power = exponent
        .parse::<i64>()
        .ok()?
        .checked_add(dropped)?
        .checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some((negative, short.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Whether the shortest representation of the nearest double is this number.
    #[allow(clippy::cast_precision_loss)]
    fn short(number: i64) -> bool {
        normal(&number.to_string()) == normal(&format!("{:e}", number as f64))
    }

    fn inexact(text: &str) -> Vec<String> {
        parse(text).unwrap().1.into_iter().collect()
    }

    #[test]
    fn parses_json() {
        let text = r#" {"a": [1, -2.5, 1e3, {"b": null}], "é\u0041\n": true, "c": {}, "d": [], "e": "x\"y", "n": 18446744073709551615} "#;
        let (value, _) = parse(text).unwrap();
        assert_eq!(
            value,
            json!({"a": [1, -2.5, 1000.0, {"b": null}], "éA\n": true, "c": {}, "d": [], "e": "x\"y", "n": 18_446_744_073_709_551_615.0_f64})
        );
    }

    #[test]
    fn rejects_invalid_json() {
        for text in [
            "",
            "{",
            "{]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "nul",
            "\"a",
            "\"\n\"",
            "{} x",
            "-",
            "NaN",
        ] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
        assert_eq!(parse(&"[".repeat(500)), Err(Malformed));
        assert!(parse(&format!("{}{}", "[".repeat(120), "]".repeat(120))).is_ok());
    }

    #[test]
    fn reports_inexact_numbers() {
        assert_eq!(
            inexact(r#"{"custom_attributes": {"a": 9007199254740993, "b": [0, 1e400]}, "c": 9007199254740993.0}"#),
            ["c", "custom_attributes.a", "custom_attributes.b.1"]
        );
        assert_eq!(
            inexact("[0.1234567890123456789, 1e-400, -1e999999999999999999999]"),
            ["0", "1", "2"]
        );
    }

    /// A long key times many numbers must not multiply in memory.
    #[test]
    fn reports_few_inexact_numbers_and_cuts_their_paths() {
        let key = "k".repeat(KEY_BYTES);
        let paths = inexact(&format!("{{\"{key}\": {{\"{key}\": [1e999]}}}}"));
        assert_eq!(paths, [format!("{}…", &key[..PATH_BYTES])]);
        let many = |count: usize| format!("[{}]", vec!["1e999"; count].join(","));
        assert_eq!(inexact(&many(INEXACT)).len(), INEXACT);
        assert_eq!(parse(&many(INEXACT + 1)), Err(TooLarge::INEXACT.into()));
    }

    /// Expanding a number of 309 digits takes tens of microseconds.
    #[test]
    fn expands_a_bounded_number_of_digits() {
        let exact = format!("{:.0}", 1e300_f64);
        let list = |count: usize| format!("[{}]", vec![exact.as_str(); count].join(","));
        let fit = EXPANDED_BYTES / exact.len();
        assert!(inexact(&list(fit)).is_empty());
        assert_eq!(parse(&list(fit + 1)), Err(TooLarge::EXPANDED.into()));
        // Numbers that need no expansion do not count: those written as a double's shortest representation, and fractions.
        let cheap = ["1e300", "0.1", "1152921504606846976", "123456789012345", "-0.00000000001"];
        assert!(inexact(&format!("[{}]", vec![cheap.join(","); 2_000].join(","))).is_empty());
    }

    #[test]
    fn limits_apply_while_parsing() {
        assert_eq!(
            parse(&format!("{{\"{}\": 1}}", "k".repeat(KEY_BYTES + 1))),
            Err(TooLarge::KEY.into())
        );
        assert_eq!(parse(&"1".repeat(NUMBER_BYTES + 1)), Err(TooLarge::NUMBER.into()));
        // The text is also incomplete at its end, but the limit is detected first.
        assert_eq!(parse(&format!("[{}", "0,".repeat(100_000))), Err(TooLarge::VALUES.into()));
        assert_eq!(parse(&format!("[{}", "{\"\":0},".repeat(100_000))), Err(TooLarge::OBJECTS.into()));
    }

    #[test]
    fn accepts_exact_numbers() {
        assert!(inexact("[0, -0, 0.0e5, 0.1, 1.10, 9007199254740991, 9007199254740992, 1e22, 0.30000000000000004, 12.50E+3, 123456789012345680000, 1152921504606846976]").is_empty());
    }

    proptest! {
        #[test]
        fn fractions_keep_every_digit(number in proptest::num::f64::NORMAL) {
            let (value, inexact) = parse(&format!("{number:?}")).unwrap();
            prop_assert!(inexact.is_empty());
            prop_assert_eq!(value.as_f64(), Some(number));
        }

        #[test]
        fn integers_are_exact_as_long_as_a_double_is(number in any::<i64>(), shift in 0_u32..64) {
            let number = number >> shift;
            let (value, inexact) = parse(&number.to_string()).unwrap();
            prop_assert_eq!(value.as_i64(), Some(number));
            // Above 2^53, only every second, fourth, ... integer is a double: those with enough trailing zero bits.
            let bits = 64 - number.unsigned_abs().leading_zeros();
            prop_assert!(!inexact.is_empty() || bits <= 53 || number.trailing_zeros() >= bits - 53 || short(number));
            prop_assert!(inexact.is_empty() || (bits > 53 && number.trailing_zeros() < bits - 53));
        }

        /// Gives the same result as `serde_json` for every text without inexact numbers.
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{},:"0-9eE.+ \\é-]|true|null|"a":|\[\]|1){0,12}"#) {
            match (parse(&text), serde_json::from_str::<Json>(&text)) {
                (Ok((_, inexact)), _) if !inexact.is_empty() => {}
                (Ok(_), Ok(_)) | (Err(Malformed), Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
            }
        }

        #[test]
        fn strings_round_trip(text in any::<String>()) {
            let (value, _) = parse(&serde_json::to_string(&text).unwrap()).unwrap();
            prop_assert_eq!(value, Json::String(text));
        }
    }
}
