//! Small tables of text.

use std::fmt;

use unicode_width::UnicodeWidthStr as _;

/// To which side a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows whose columns are aligned, two spaces apart.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Align>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it may have fewer cells than there are columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The columns that a terminal of some width has room for, and again the next ones: tables that each begin with the same
    /// `keys`, columns of this one.
    pub(crate) fn parts(&self, width: usize, keys: &[usize]) -> Vec<Self> {
        let taken = |columns: &[usize]| {
            let widths = columns.iter().map(|&column| self.width(column));
            widths.sum::<usize>() + 2 * columns.len().saturating_sub(1)
        };
        let mut parts = Vec::new();
        let mut columns = keys.to_vec();
        for column in (0..self.columns.len()).filter(|column| !keys.contains(column)) {
            columns.push(column);
            if columns.len() > keys.len() + 1 && taken(&columns) > width {
                columns.pop();
                parts.push(self.of(&columns));
                columns = [keys, &[column]].concat();
            }
        }
        parts.push(self.of(&columns));
        parts
    }

    fn of(&self, columns: &[usize]) -> Self {
        let cells = |row: &Vec<String>| {
            let cells = columns.iter().map(|&column| row.get(column).cloned());
            cells.map(Option::unwrap_or_default).collect()
        };
        Self {
            columns: columns.iter().map(|&column| self.columns[column]).collect(),
            rows: self.rows.iter().map(cells).collect(),
        }
    }

    /// The width of a column's widest cell.
    pub(crate) fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<_> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let pad = " ".repeat(width - cell.width());
                match align {
                    Align::Left => line += &format!("{cell}{pad}  "),
                    Align::Right => line += &format!("{pad}{cell}  "),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_the_eye_sees() {
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        table.row(["가".into(), "1".into(), "x".into()]);
        table.row(["abc".into(), "10".into(), String::new()]);
        table.row(["a".into()]);
        assert_eq!(table.to_string(), "가    1  x\nabc  10\na\n");
    }

    #[test]
    fn a_wide_table_comes_in_parts_that_begin_with_its_keys() {
        let mut table = Table::new([Align::Left, Align::Left, Align::Right, Align::Right]);
        table.row(["layer", "gate", "mean", "deviation"].map(String::from));
        table.row(["rnn_l0", "f", "0.5", "0.25"].map(String::from));
        let shown = |width, keys: &[usize]| {
            let parts = table.parts(width, keys);
            parts.iter().map(Table::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(80, &[0, 1]), [table.to_string()]);
        assert_eq!(shown(29, &[0, 1]).len(), 1, "it just fits");
        assert_eq!(
            shown(28, &[0, 1]),
            [
                "layer   gate  mean\nrnn_l0  f      0.5\n",
                "layer   gate  deviation\nrnn_l0  f          0.25\n"
            ]
        );
        assert_eq!(shown(1, &[0]).len(), 3, "one column at least");
    }

    #[test]
    fn thousands_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
