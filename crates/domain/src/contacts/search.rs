//! Finding contacts by a piece of text: as a condition that the databases' indexes answer, of three characters by their trigrams and of fewer
//! by an index of our own. Names of two characters are the rule in Chinese.

use parley_storage::entity::contact::{self, Column};
use parley_types::{error::Result, id::AccountId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, Statement,
    sea_query::{Alias, Condition, Expr, LikeExpr, Query, SimpleExpr, extension::postgres::PgExpr as _},
};

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
    let backend = db.get_database_backend();
    let literal = longest_literal(text);
    if literal.chars().count() >= TRIGRAM && !(backend == DbBackend::Sqlite && literal != text) {
        return Ok(match backend {
            DbBackend::Sqlite => phrase(text),
            _ => on_postgres(text),
        });
    }
    let holds = match backend {
        DbBackend::Sqlite => on_sqlite(text),
        _ => on_postgres(text),
    };
    // Of a longer one beside wildcards any piece will do: each is in whoever holds the text.
    let piece: String = literal.chars().take(TRIGRAM - 1).collect();
    if piece.is_empty() {
        return Ok(holds);
    }
    Ok(if is_common(db, account, &piece).await? {
        holds
    } else {
        Condition::all().add(with_piece(backend, account, &piece)).add(holds)
    })
}

/// Whether at least [`COMMON`] contacts hold a piece; no more are looked at.
async fn is_common(db: &impl ConnectionTrait, account: AccountId, piece: &str) -> Result<bool> {
    let backend = db.get_database_backend();
    let row = if backend == DbBackend::Sqlite {
        // In this order, or all that hold it would be collected first.
        let sql = "SELECT COUNT(*) AS count FROM (SELECT 1 FROM contact_pieces CROSS JOIN contacts ON contacts.id = contact_pieces.rowid \
             WHERE contact_pieces MATCH ? AND contacts.account_id = ? LIMIT ?)";
        let values = [marked(piece).into(), account.0.into(), COMMON.into()];
        db.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await?
    } else {
        let some = contact::Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::AccountId.eq(account))
            .filter(named())
            .filter(with_piece(backend, account, piece))
            .limit(COMMON);
        let count = Query::select()
            .expr_as(Expr::cust("COUNT(*)"), "count")
            .from_subquery(QueryTrait::into_query(some), Alias::new("some"))
            .take();
        db.query_one(&count).await?
    };
    let found: Option<i64> = row.map(|row| row.try_get_by("count")).transpose()?;
    Ok(found
        .and_then(|found| u64::try_from(found).ok())
        .is_some_and(|found| found >= COMMON))
}

/// Who can be named: with an address, a number or an id elsewhere. Chatwoot calls them resolved. Blank ones are stored as none, and the
/// indexes have the same condition.
pub fn named() -> Condition {
    Condition::any()
        .add(Column::Email.is_not_null())
        .add(Column::PhoneNumber.is_not_null())
        .add(Column::Identifier.is_not_null())
}

/// Those that hold one or two characters anywhere, whatever their letter case, as the index of pieces knows it.
fn with_piece(backend: DbBackend, account: AccountId, piece: &str) -> SimpleExpr {
    match backend {
        DbBackend::Sqlite => {
            let id = Expr::col((contact::Entity, Column::Id));
            Expr::cust_with_exprs(
                "? IN (SELECT rowid FROM contact_pieces WHERE contact_pieces MATCH ?)",
                [id, Expr::value(marked(piece))],
            )
        }
        // The index has the same words. A letter that is two in lower case finds by its first. What stands in brackets takes no values.
        _ => Expr::cust_with_values(
            "parley_pieces(\"contacts\".\"account_id\", ARRAY[\"contacts\".\"name\", \"contacts\".\"email\", \
             \"contacts\".\"phone_number\", \"contacts\".\"identifier\", \"contacts\".\"additional_attributes\" ->> 'company_name']) \
             @> array_append('{}', CAST($1 AS text) || ':' || substr(lower(CAST($2 AS text)), 1, 2))",
            [account.0.to_string(), piece.to_owned()],
        ),
    }
}

/// What stands around characters in SQLite's index of pieces.
const MARK: &str = "\u{1}";

/// A piece as SQLite's index is asked for it: each character is there with a mark on both sides, so that one or two of them are three.
fn marked(piece: &str) -> String {
    let characters: Vec<String> = piece.chars().map(String::from).collect();
    let marked = match characters.as_slice() {
        [single] => format!("{MARK}{single}{MARK}"),
        _ => characters.join(MARK),
    };
    format!("\"{}\"", marked.replace('"', "\"\""))
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

fn on_postgres(text: &str) -> Condition {
    // A backslash is no wildcard of ours.
    let pattern = format!("%{}%", text.replace('\\', "\\\\"));
    let column = |column: Column| Expr::col((contact::Entity, column));
    let ilike = |expr: SimpleExpr| expr.ilike(LikeExpr::new(pattern.as_str()));
    Condition::any()
        .add(ilike(column(Column::Name)))
        .add(ilike(column(Column::Email)))
        .add(ilike(column(Column::PhoneNumber)))
        .add(ilike(Expr::cust("(\"contacts\".\"additional_attributes\" ->> 'company_name')")))
        .add(Column::Identifier.like(pattern.as_str()))
}

/// A pattern: it folds letters of ASCII.
fn on_sqlite(text: &str) -> Condition {
    let pattern = format!("%{text}%");
    let column = |column: Column| Expr::col((contact::Entity, column));
    let company = Expr::cust("(\"contacts\".\"additional_attributes\" ->> 'company_name')");
    let mut any = Condition::any();
    for expr in [column(Column::Name), column(Column::Email), column(Column::PhoneNumber), company] {
        any = any.add(expr.like(pattern.as_str()));
    }
    any.add(Expr::cust_with_exprs(
        "? GLOB ?",
        [column(Column::Identifier), Expr::value(glob(text))],
    ))
}

/// The table of texts finds the ids at once, however many contacts there are. It folds letters of any language.
fn phrase(text: &str) -> Condition {
    let id = Expr::col((contact::Entity, Column::Id));
    let phrase = text.replace('"', "\"\"");
    Condition::all().add(Expr::cust_with_exprs(
        "? IN (SELECT rowid FROM contact_search WHERE contact_search MATCH ? \
         UNION SELECT rowid FROM contact_search WHERE contact_search MATCH ? AND identifier GLOB ?)",
        [
            id,
            Expr::value(format!("{{name email phone_number company_name}} : \"{phrase}\"")),
            Expr::value(format!("identifier : \"{phrase}\"")),
            Expr::value(glob(text)),
        ],
    ))
}

/// Letter case counts in identifiers, and SQLite's LIKE knows none: there GLOB stands for it, with its own wildcards.
fn glob(text: &str) -> String {
    let pattern: String = text
        .chars()
        .map(|char| match char {
            '%' => "*".to_owned(),
            '_' => "?".to_owned(),
            '*' | '?' | '[' => format!("[{char}]"),
            other => other.to_string(),
        })
        .collect();
    format!("*{pattern}*")
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

    #[test]
    fn one_or_two_characters_are_three_with_their_marks() {
        assert_eq!(marked("a"), "\"\u{1}a\u{1}\"");
        assert_eq!(marked("王\""), "\"王\u{1}\"\"\"");
    }

    #[test]
    fn wildcards_of_the_one_become_those_of_the_other() {
        assert_eq!(glob("a%b_c"), "*a*b?c*");
        assert_eq!(glob("[x]*?"), "*[[]x][*][?]*");
    }
}
