//! Statements for SQLite. SQLite has no arrays and does not allow writes in a WITH clause, so each table needs its own statement. All
//! statements of a batch are sent at once, because each message to SQLite's thread costs more than storing a row.

use parley_types::error::{Error, Result};
use sqlx::{Arguments as _, sqlite::SqliteArguments};

use cells::Cell;

pub mod cells;
pub mod text;

/// A statement text with its parameters.
pub type Bound = (&'static str, SqliteArguments);

/// Binds the values in the given order.
///
/// # Errors
/// [`Error::Internal`] if a value cannot be encoded; this does not happen in practice.
pub fn bind<'a>(arguments: &mut SqliteArguments, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<()> {
    for cell in cells {
        let added = match cell {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Number(number) => arguments.add(number),
            Cell::Text(text) => arguments.add(text),
            Cell::Bytes(bytes) => arguments.add(bytes),
        };
        added.map_err(|error| Error::Internal(error.to_string()))?;
    }
    Ok(())
}

/// Binds a row for an update of one row: first the columns that are set, then the key.
///
/// # Errors
/// Same as [`bind`].
pub fn bind_update<const N: usize>(arguments: &mut SqliteArguments, update: text::Update, mut cells: [Cell; N]) -> Result<()> {
    let (rest, set) = cells.split_at_mut(update.set_from);
    bind(arguments, set.iter_mut().map(std::mem::take))?;
    bind(arguments, rest[..update.key].iter_mut().map(std::mem::take))
}
