//! Series: tables of numbers, a row a step of time.

mod reader;
mod times;

use std::path::Path;

use super::rows::{OnBadRow, shown};
use crate::error::{Error, Result};

pub use reader::read_series;

/// How a series is read.
#[derive(Clone, Copy, Debug)]
pub struct SeriesOptions {
    /// What stands between columns; `None`: tabs if the name ends in `.tsv` or `.tab`, else commas.
    pub delimiter: Option<char>,
    /// What happens to a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// The most memory that the rows may take.
    pub max_bytes: u64,
}

impl Default for SeriesOptions {
    /// Errors for bad rows, [`DEFAULT_MAX_BYTES`](super::text::DEFAULT_MAX_BYTES).
    fn default() -> Self {
        Self {
            delimiter: None,
            on_bad_row: OnBadRow::Error,
            max_bytes: super::text::DEFAULT_MAX_BYTES,
        }
    }
}

/// The numbers of a table with a line of names, row after row.
///
/// A column that is no number but a date or a time, or is called so, is the time: it must rise, and is no number of the series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The file, for messages.
    pub name: String,
    /// The names of the columns of numbers.
    pub columns: Vec<String>,
    /// The number of each of them in the file, from 1.
    pub places: Vec<usize>,
    /// Rows × columns, all finite.
    pub values: Vec<f64>,
    /// The column of the time, if there is one.
    pub time: Option<String>,
    /// Rows that were left out.
    pub skipped: u64,
    /// A hash of the file.
    pub sha256: String,
    /// What a user should know.
    pub notes: Vec<String>,
}

impl Series {
    /// Steps of time.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.len().max(1)
    }

    /// The columns of a comma-separated list of names or numbers from 1, in that order; `None` is all.
    ///
    /// # Errors
    /// [`Error::Setting`] where one is not there, is the time, or is named twice.
    pub fn choose(&self, list: Option<&str>) -> Result<Vec<usize>> {
        let Some(list) = list else {
            return Ok((0..self.columns.len()).collect());
        };
        let wrong = |found: String, expected: String| Error::Setting {
            name: "target-column".into(),
            found,
            expected,
            hint: format!(
                "`{}` has the columns of numbers {}",
                self.name,
                some_of(&self.columns)
            ),
        };
        let mut chosen = Vec::new();
        for word in list.split(',').map(str::trim) {
            let place = |number: usize| self.places.iter().position(|&place| place == number);
            let column = match word.parse() {
                Ok(number) => place(number),
                Err(_) => self.columns.iter().position(|name| name == word),
            };
            let column = column.ok_or_else(|| {
                wrong(
                    shown(word),
                    "columns of numbers, by name or number from 1".into(),
                )
            })?;
            if chosen.contains(&column) {
                return Err(wrong(
                    format!("{} twice", shown(word)),
                    "each column once".into(),
                ));
            }
            chosen.push(column);
        }
        Ok(chosen)
    }

    /// The same rows with only the given columns, in their order.
    ///
    /// # Errors
    /// [`Error::Unusable`] where one is not there.
    pub fn with_columns(self, columns: &[String]) -> Result<Self> {
        if self.columns == columns {
            return Ok(self);
        }
        let mut chosen = Vec::new();
        for name in columns {
            let column = self.columns.iter().position(|own| own == name);
            chosen.push(column.ok_or_else(|| Error::Unusable {
                problem: format!("`{}` has no column {}", self.name, shown(name)),
                hint: format!("it needs the columns {}", some_of(columns)),
            })?);
        }
        let rows = self.values.chunks_exact(self.columns.len());
        let values = rows
            .flat_map(|row| chosen.iter().map(|&column| row[column]))
            .collect();
        Ok(Self {
            values,
            columns: columns.to_vec(),
            places: chosen.iter().map(|&column| self.places[column]).collect(),
            ..self
        })
    }
}

/// A few names, for a message.
pub(super) fn some_of(names: &[String]) -> String {
    const MOST: usize = 8;
    let some: Vec<_> = names.iter().take(MOST).map(|name| shown(name)).collect();
    let dots = if names.len() > MOST { ", …" } else { "" };
    format!("{}{dots}", some.join(", "))
}

/// What stands between the columns of a file.
fn delimiter_of(path: &Path) -> char {
    match super::rows::ending(path).as_deref() {
        Some("tsv" | "tab") => '\t',
        _ => ',',
    }
}

#[cfg(test)]
mod tests;
