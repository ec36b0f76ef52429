//! Custom attributes out of their JSON, as both databases read it. Stored values were never checked against a definition, so what is
//! none of its kind counts as missing: no cast may fail.

use sea_orm::{
    DbBackend,
    sea_query::{Alias, Expr, SimpleExpr},
};

use super::model::Model;

/// An attribute in the column `custom_attributes`.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Whose.
    pub model: Model,
    /// The database.
    pub backend: DbBackend,
    /// The attribute's key; it is bound, and never a path.
    pub key: &'a str,
}

impl Attribute<'_> {
    /// What a template of the database makes of column and key: `$1` and `$2` on PostgreSQL, two question marks on SQLite.
    fn read(&self, postgres: &'static str, sqlite: &'static str) -> SimpleExpr {
        let table = match self.model {
            Model::Contact => "contacts",
            Model::Conversation => "conversations",
        };
        let column = Expr::col((Alias::new(table), Alias::new("custom_attributes")));
        let template = if self.backend == DbBackend::Sqlite { sqlite } else { postgres };
        Expr::cust_with_exprs(template, [column, Expr::value(self.key)])
    }

    /// Whether there is a value.
    pub fn present(&self) -> SimpleExpr {
        self.read(
            "COALESCE(jsonb_typeof($1 -> $2) <> 'null', FALSE)",
            "EXISTS (SELECT 1 FROM json_each(?) WHERE \"key\" = ? AND \"type\" <> 'null')",
        )
    }

    /// A text, number or boolean as text.
    pub fn text(&self) -> SimpleExpr {
        self.read(
            "(CASE WHEN jsonb_typeof($1 -> $2) IN ('string', 'number', 'boolean') THEN $1 ->> $2 END)",
            "(SELECT CASE WHEN \"type\" IN ('true', 'false') THEN \"type\" WHEN \"type\" IN ('text', 'integer', 'real') \
             THEN CAST(\"value\" AS TEXT) END FROM json_each(?) WHERE \"key\" = ?)",
        )
    }

    /// A number, also one that is written as a text.
    pub fn number(&self) -> SimpleExpr {
        self.read(
            "(CASE jsonb_typeof($1 -> $2) WHEN 'number' THEN ($1 ->> $2)::float8 WHEN 'string' THEN CASE WHEN length($1 ->> $2) <= 31 \
             AND ($1 ->> $2) ~ '^-?[0-9]+([.][0-9]+)?$' THEN ($1 ->> $2)::float8 END END)",
            "(SELECT CASE WHEN \"type\" IN ('integer', 'real') THEN CAST(\"value\" AS REAL) WHEN \"type\" = 'text' \
             AND length(\"value\") <= 31 AND \"value\" NOT GLOB '*[^0-9.-]*' AND \"value\" NOT GLOB '*.*.*' \
             AND substr(\"value\", 2) NOT GLOB '*-*' AND \"value\" GLOB '*[0-9]' \
             AND (\"value\" GLOB '[0-9]*' OR \"value\" GLOB '-[0-9]*') THEN CAST(\"value\" AS REAL) END FROM json_each(?) WHERE \"key\" = ?)",
        )
    }

    /// The first ten characters of a text that begins with a day, which sort as days do.
    pub fn day(&self) -> SimpleExpr {
        self.read(
            "(CASE WHEN jsonb_typeof($1 -> $2) = 'string' AND ($1 ->> $2) ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}' \
             THEN substr($1 ->> $2, 1, 10) END COLLATE \"C\")",
            "(SELECT CASE WHEN \"type\" = 'text' AND \"value\" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' \
             THEN substr(\"value\", 1, 10) END FROM json_each(?) WHERE \"key\" = ?)",
        )
    }
}
