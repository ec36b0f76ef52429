//! Builds conditions for searching contacts by a substring, in forms that an index can answer: a trigram index for substrings of at least
//! three characters, and an index maintained by Parley for one or two characters. Chinese names often have only two characters.

use parley_storage::Dialect;
use parley_types::{error::Result, id::AccountId};
use sea_orm::{Condition, ConnectionTrait};

/// The minimum length of a substring in characters for which a trigram index can be used.
const TRIGRAM: usize = 3;

/// If at least this many contacts contain the text, scanning the list is faster than using the index and sorting.
const COMMON: u64 = 500;

/// Returns a condition that matches those contacts of an account that contain a text. The name, e-mail address, phone number and company
/// are compared case-insensitively, the identifier case-sensitively. `%` and `_` are wildcards.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a query fails.
pub async fn holding(db: &impl ConnectionTrait, account: AccountId, text: &str) -> Result<Condition> {
    let dialect = Dialect::of(db);
    let literal = longest_literal(text);
    if literal.chars().count() >= TRIGRAM
        && let Some(holds) = dialect.contacts_by_trigrams(text)
    {
        return Ok(holds);
    }
    let holds = dialect.contacts_by_pattern(text);
    // Narrow the search to contacts that contain one or two adjacent literal characters of the text, as does every contact that contains
    // the whole text.
    let piece: String = literal.chars().take(TRIGRAM - 1).collect();
    if piece.is_empty() {
        return Ok(holds);
    }
    Ok(if is_common(db, account, &piece).await? {
        holds
    } else {
        Condition::all().add(dialect.contacts_with_piece(account, &piece)).add(holds)
    })
}

/// Returns whether at least [`COMMON`] contacts contain the one or two characters in `piece`. Stops counting at [`COMMON`].
async fn is_common(db: &impl ConnectionTrait, account: AccountId, piece: &str) -> Result<bool> {
    let count = Dialect::of(db).count_contacts_with_piece(account, piece, COMMON);
    let row = db.query_one_raw(count).await?;
    let found: Option<i64> = row.map(|row| row.try_get_by("count")).transpose()?;
    Ok(found
        .and_then(|found| u64::try_from(found).ok())
        .is_some_and(|found| found >= COMMON))
}

/// Returns the longest part of a text that contains no wildcards. If several parts have the same length, returns the first.
fn longest_literal(text: &str) -> &str {
    let mut longest = "";
    for part in text.split(['%', '_']) {
        if part.chars().count() > longest.chars().count() {
            longest = part;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_by_the_longest_literal() {
        assert_eq!(longest_literal("ab"), "ab");
        assert_eq!(longest_literal("a%bc_d"), "bc");
        assert_eq!(longest_literal("%_"), "");
        assert_eq!(longest_literal("王_伟"), "王");
    }
}
