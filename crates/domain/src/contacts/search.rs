//! Finding contacts by a piece of text: as a condition that the databases' indexes answer, of three characters by their trigrams and of fewer
//! by an index of our own. Names of two characters are the rule in Chinese.

use parley_storage::Dialect;
use parley_types::{error::Result, id::AccountId};
use sea_orm::{Condition, ConnectionTrait};

/// The shortest piece that trigrams know.
const TRIGRAM: usize = 3;

/// What so many contacts hold is found sooner by going through the list than by the index and a sort.
const COMMON: u64 = 500;

/// Contacts of an account that hold a text in their name, e-mail, phone number or company, whatever its letter case, or in their identifier
/// with it. `%` and `_` stand for anything and any character.
///
/// # Errors
/// When the database cannot be read.
pub async fn holding(db: &impl ConnectionTrait, account: AccountId, text: &str) -> Result<Condition> {
    let dialect = Dialect::of(db);
    let literal = longest_literal(text);
    if literal.chars().count() >= TRIGRAM
        && let Some(holds) = dialect.contacts_by_trigrams(text)
    {
        return Ok(holds);
    }
    let holds = dialect.contacts_by_pattern(text);
    // Of a longer one beside wildcards any piece will do: each is in whoever holds the text.
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

/// Whether at least [`COMMON`] contacts hold a piece; no more are looked at.
async fn is_common(db: &impl ConnectionTrait, account: AccountId, piece: &str) -> Result<bool> {
    let count = Dialect::of(db).count_contacts_with_piece(account, piece, COMMON);
    let row = db.query_one_raw(count).await?;
    let found: Option<i64> = row.map(|row| row.try_get_by("count")).transpose()?;
    Ok(found
        .and_then(|found| u64::try_from(found).ok())
        .is_some_and(|found| found >= COMMON))
}

/// The longest part of a text without wildcards; the first of several.
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
    fn a_text_is_looked_for_by_its_longest_part() {
        assert_eq!(longest_literal("ab"), "ab");
        assert_eq!(longest_literal("a%bc_d"), "bc");
        assert_eq!(longest_literal("%_"), "");
        assert_eq!(longest_literal("王_伟"), "王");
    }
}
