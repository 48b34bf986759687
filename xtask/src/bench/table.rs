//! A table that a person can read: a title, columns as wide as they need, numbers to the right.

use std::fmt;

/// Rows of text under a title.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// An empty table with its heading.
    pub fn new(title: impl Into<String>, heading: &[&str]) -> Self {
        Self {
            title: title.into(),
            rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()],
            notes: Vec::new(),
        }
    }

    /// Adds a row; the first cell says what it is about.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Adds a sentence below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if column == 0 {
                    write!(f, "  {cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("times", &["tool", "s"]);
        table.row(vec!["a".into(), "10.5".into()]);
        table.note("one run");
        assert_eq!(table.to_string(), "times\n  tool     s\n  a     10.5\n  one run\n");
    }
}
