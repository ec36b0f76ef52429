//! Tabular lists for users and scripts: a header, one line per row, and a note if the list is empty.

use std::io::{self, Write as _};

use parley_telemetry::escape::escaped;

/// A list that is printed page by page. Rows go to standard output; the note about an empty list goes to standard error.
#[derive(Debug)]
pub struct Table {
    /// The plural noun for the listed items.
    noun: &'static str,
    header: &'static [&'static str],
    /// The column widths, determined by the first page.
    widths: Vec<usize>,
}

impl Table {
    /// Creates an empty list of `noun` with the columns in `header`.
    pub fn new(noun: &'static str, header: &'static [&'static str]) -> Self {
        Self {
            noun,
            header,
            widths: Vec::new(),
        }
    }

    /// Prints a page. Control characters in cells are escaped, because the cells can contain text from any caller.
    pub fn rows(&mut self, rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| escaped(cell)).collect()).collect();
        let mut text = String::new();
        if self.widths.is_empty() {
            let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            self.widths = (0..self.header.len())
                .map(|column| width(column).unwrap_or_default().max(self.header[column].chars().count()))
                .collect();
            text += &self.line(&self.header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
        }
        for row in &rows {
            text += &self.line(row);
        }
        // A closed pipe is not an error: the reader has exited, as `head` does.
        let _ = io::stdout().write_all(text.as_bytes());
    }

    fn line(&self, row: &[String]) -> String {
        let cells: Vec<String> = row
            .iter()
            .zip(&self.widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    }

    /// Prints a note to standard error if there were no rows.
    pub fn finish(self) {
        if self.widths.is_empty() {
            eprintln!("no {}", self.noun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("things", &["ID", "NAME", "NOTE"]);
        table.widths = vec![3, 6, 4];
        assert_eq!(table.line(&["1".to_owned(), "Ana".to_owned(), String::new()]), "1    Ana\n");
        assert_eq!(
            table.line(&["12".to_owned(), "Ravi K".to_owned(), "x".to_owned()]),
            "12   Ravi K  x\n"
        );
    }
}
