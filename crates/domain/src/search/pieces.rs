//! Prepares text for the search: case folding and n-grams of three characters. Has no side effects.

/// The number of characters of an n-gram. A shorter string has no n-grams.
pub const PIECE: usize = 3;

/// Folds the case of a string character by character, so that a substring has the same folded form on its own as within a longer string.
pub fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Returns the distinct n-grams of a folded string as numbers, with 21 bits per character.
pub fn pieces(folded: &str) -> Vec<i64> {
    let letters: Vec<i64> = folded.chars().map(|letter| i64::from(u32::from(letter))).collect();
    let mut pieces: Vec<i64> = letters
        .windows(PIECE)
        .map(|piece| piece.iter().fold(0, |sum, letter| sum << 21 | letter))
        .collect();
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

/// Returns whether a search string is long enough for the index.
pub fn indexed(folded: &str) -> bool {
    folded.chars().count() >= PIECE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ngrams_of_a_substring_are_a_subset(before in any::<String>(), part in any::<String>(), after in any::<String>()) {
            let whole = fold(&format!("{before}{part}{after}"));
            let part = fold(&part);
            prop_assert!(whole.contains(&part));
            let whole = pieces(&whole);
            prop_assert!(pieces(&part).iter().all(|piece| whole.binary_search(piece).is_ok()));
            prop_assert_eq!(pieces(&part).is_empty(), !indexed(&part));
        }
    }
}
