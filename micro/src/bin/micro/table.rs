//! Tables for people: columns without lines, for which other programs have no use.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table as Inner};

use crate::plain::plain;

/// A table that is being filled, row by row.
#[derive(Debug)]
pub(crate) struct Table(Inner);

impl Table {
    /// Begins a table with the names of its columns.
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        let mut table = Inner::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    /// Adds a row; control characters in it are escaped.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.0.add_row(cells.map(|cell| if cell.is_empty() { "-".into() } else { plain(cell) }));
    }

    /// Returns the table as lines without blanks at their ends.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_names() {
        let mut table = Table::new(["NAME", "NODES"]);
        table.row(["greeter", "2"]);
        table.row(["a\u{1b}[2J", ""]);
        let expected = "NAME        NODES\ngreeter     2\na\\u{1b}[2J  -\n";
        assert_eq!(table.text(), expected);
    }
}
