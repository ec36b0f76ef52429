//! Columns, tables, indexes and foreign keys, as the migrations define them.

use sea_orm_migration::prelude::*;

/// A required 64-bit column for ids, positions and times in microseconds.
pub fn int(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().not_null().take()
}

/// A nullable 64-bit column.
pub fn maybe_int(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().null().take()
}

/// A required column for the number of an enum variant.
pub fn kind(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).small_integer().not_null().take()
}

/// A primary key that the database generates.
pub fn id() -> ColumnDef {
    ColumnDef::new(Alias::new("id"))
        .big_integer()
        .not_null()
        .auto_increment()
        .primary_key()
        .take()
}

/// A required text column. Lengths are limited when requests are validated.
pub fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().not_null().take()
}

/// A nullable text column.
pub fn maybe_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().null().take()
}

/// A required boolean column.
pub fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).boolean().not_null().take()
}

/// A required JSON column.
pub fn json(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).json_binary().not_null().take()
}

/// A required column of bytes.
pub fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).blob().not_null().take()
}

/// A table with these columns. `key` is the primary key; it is empty if a column declares itself as the key.
pub fn table(name: &'static str, key: &[&'static str], columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).take();
    for column in columns {
        table.col(column);
    }
    if !key.is_empty() {
        let mut index = Index::create();
        for column in key {
            index.col(Alias::new(*column));
        }
        table.primary_key(&mut index);
    }
    table
}

/// An index named after its table and columns.
pub fn index(on: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create()
        .name(format!("{on}_{}", columns.join("_")))
        .table(Alias::new(on))
        .take();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

/// A unique index named after its table and columns.
pub fn unique(on: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    index(on, columns).unique().take()
}

/// A foreign key to the `id` of another table, with ON DELETE CASCADE.
pub fn belongs(on: &'static str, column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{on}_{column}"))
        .from(Alias::new(on), Alias::new(column))
        .to(Alias::new(to), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
