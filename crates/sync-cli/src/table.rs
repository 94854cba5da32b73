//! Plain text tables: columns as wide as their widest cell, numbers to the right.

use std::fmt;

/// A table to print.
#[derive(Debug)]
pub(crate) struct TextTable {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these column titles.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|title| (*title).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells beyond the titles are not shown.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A name or value from outside must not move the cursor or break the line.
fn one_line(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty()
        && cell
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '%'))
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = self
            .head
            .iter()
            .enumerate()
            .map(|(i, title)| {
                let cells = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(i))
                    .map(|cell| cell.chars().count());
                cells.chain([title.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            let mut text = String::new();
            for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let gap = if i == 0 { "" } else { "  " };
                if is_number(cell) {
                    text.push_str(&format!("{gap}{pad}{cell}"));
                } else {
                    text.push_str(&format!("{gap}{cell}{pad}"));
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(f, &self.head)?;
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        line(f, &rule)?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_do_not_get_through() {
        let mut table = TextTable::new(&["table", "rows"]);
        table.row(["dbo.Orders".to_owned(), "1000".to_owned()]);
        table.row(["a\u{1b}[2J".to_owned(), "7".to_owned()]);
        assert_eq!(
            table.to_string(),
            "table       rows\n──────────  ────\ndbo.Orders  1000\na·[2J          7\n"
        );
    }
}
