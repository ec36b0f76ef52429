//! Finding contacts by a piece of text: as a condition that the databases' trigram indexes answer.

use sea_orm::{
    ColumnTrait, DbBackend,
    sea_query::{Condition, Expr, LikeExpr, SimpleExpr, extension::postgres::PgExpr as _},
};

use crate::db::entity::contact::{self, Column};

/// The shortest piece that trigrams know.
const TRIGRAM: usize = 3;

/// Contacts that hold a text in their name, e-mail, phone number or company, whatever its letter case, or in their identifier with it.
/// `%` and `_` stand for anything and any character.
pub fn holds(text: &str, backend: DbBackend) -> Condition {
    match backend {
        DbBackend::Sqlite => on_sqlite(text),
        _ => on_postgres(text),
    }
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

/// The table of texts finds the ids at once, however many contacts there are. It folds letters of any language where it looks for a
/// phrase, and those of ASCII where it looks for a pattern.
fn on_sqlite(text: &str) -> Condition {
    let id = Expr::col((contact::Entity, Column::Id));
    let glob = glob(text);
    if text.contains(['%', '_']) || text.chars().count() < TRIGRAM {
        let like = format!("%{text}%");
        let mut values: Vec<SimpleExpr> = vec![id];
        values.extend((0..4).map(|_| Expr::value(like.as_str())));
        values.push(Expr::value(glob));
        return Condition::all().add(Expr::cust_with_exprs(
            "? IN (SELECT rowid FROM contact_search WHERE name LIKE ? UNION SELECT rowid FROM contact_search WHERE email LIKE ? \
             UNION SELECT rowid FROM contact_search WHERE phone_number LIKE ? UNION SELECT rowid FROM contact_search WHERE company_name LIKE ? \
             UNION SELECT rowid FROM contact_search WHERE identifier GLOB ?)",
            values,
        ));
    }
    let phrase = text.replace('"', "\"\"");
    Condition::all().add(Expr::cust_with_exprs(
        "? IN (SELECT rowid FROM contact_search WHERE contact_search MATCH ? \
         UNION SELECT rowid FROM contact_search WHERE contact_search MATCH ? AND identifier GLOB ?)",
        [
            id,
            Expr::value(format!("{{name email phone_number company_name}} : \"{phrase}\"")),
            Expr::value(format!("identifier : \"{phrase}\"")),
            Expr::value(glob),
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
    fn wildcards_of_the_one_become_those_of_the_other() {
        assert_eq!(glob("a%b_c"), "*a*b?c*");
        assert_eq!(glob("[x]*?"), "*[[]x][*][?]*");
    }
}
