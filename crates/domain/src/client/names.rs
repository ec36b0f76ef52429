//! Generates names, which consist of two words and a number, for contacts that submitted none.

use rand::Rng as _;

const FIRST: [&str; 24] = [
    "amber", "autumn", "bold", "brave", "bright", "calm", "clear", "cool", "crimson", "dawn", "gentle", "golden", "green", "lively",
    "lucky", "misty", "patient", "quiet", "silent", "silver", "still", "summer", "warm", "winter",
];

const SECOND: [&str; 24] = [
    "brook", "cloud", "dew", "field", "fire", "flower", "forest", "frost", "grass", "haze", "hill", "lake", "leaf", "meadow", "moon",
    "mountain", "pine", "pond", "rain", "river", "sea", "shadow", "star", "wind",
];

/// Generates a name such as `quiet-meadow-512`.
pub(super) fn made_up() -> String {
    let mut rng = rand::rng();
    let word = |words: &[&'static str; 24], nth: usize| words[nth % words.len()];
    let (first, second) = (rng.random_range(0..24), rng.random_range(0..24));
    format!("{}-{}-{}", word(&FIRST, first), word(&SECOND, second), rng.random_range(1..1000))
}
