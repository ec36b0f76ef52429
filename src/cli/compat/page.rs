//! Parses the tables of documentation pages that are compiled into the program.

/// Returns the rows of all tables in a Markdown document, with each cell as plain text. Rows with fewer than three cells are skipped.
pub fn rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_header = |at: usize| line_at(&lines, at + 1).is_some_and(|line| line.starts_with("|-") || line.starts_with("| -"));
    let rows: Vec<Vec<String>> = (0..lines.len())
        .filter(|at| lines[*at].starts_with("| ") && !lines[*at].starts_with("| -") && !is_header(*at))
        .map(|at| lines[at].trim().trim_matches('|').split('|').map(plain_text).collect())
        .filter(|cells: &Vec<String>| cells.len() >= 3)
        .collect();
    rows.into_iter()
}

fn line_at<'a>(lines: &[&'a str], at: usize) -> Option<&'a str> {
    lines.get(at).copied()
}

/// Returns the text below a second-level heading, up to the next heading of that level. Empty if the heading is absent.
pub fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let after = text.split_once(&format!("\n## {heading}\n")).map_or("", |(_, after)| after);
    after.split_once("\n## ").map_or(after, |(section, _)| section)
}

/// Returns the text of a table cell without backticks, and with links replaced by their labels.
pub fn plain_text(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut rest = cell.trim();
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        // Brackets without a URL, such as in `labels[]`, do not form a link.
        match after
            .split_once("](")
            .and_then(|(label, after)| Some((label, after.split_once(')')?.1)))
        {
            Some((label, after)) if !label.contains(['[', ']']) => {
                text.push_str(label);
                rest = after;
            }
            _ => {
                text.push('[');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_rows_of_tables() {
        let text = "# Title\n\n| a | b | c |\n|---|---|---|\n| `x[]` | see [page](p.md#x), `labels[]` | |\n\ntext | with | bars\n\n## Two\n| d | e | f |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n## Three\n";
        assert_eq!(
            rows(text).collect::<Vec<_>>(),
            [vec!["x[]", "see page, labels[]", ""], vec!["1", "2", "3"]]
        );
        assert_eq!(rows(section(text, "Two")).collect::<Vec<_>>(), [vec!["1", "2", "3"]]);
        assert_eq!(section(text, "Four"), "");
    }
}
