//! Tables of texts and their labels, or of two other things ([`Roles`]): `.tsv`, `.csv`, `.jsonl` and lines that begin with a
//! label.
//!
//! What is not said (which column is the text, which the label, whether the first line names them) is found out from the
//! first rows, always in the same way, and can be reported; where it is not clear, that is an error.

mod columns;
pub(super) mod fields;
mod json;
mod reader;
mod roles;

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::rows::{self, OnBadRow, RowNotes};
use crate::Result;
use crate::names::named;

pub use super::text::DEFAULT_MAX_BYTES;
pub use reader::TableReader;
pub use roles::Roles;

/// How many lines are looked at before anything is guessed about a table, unless the caller says otherwise.
pub const DEFAULT_SAMPLE_ROWS: usize = 256;
/// What a row takes in memory beside its text: itself, and what the allocator adds to its two texts.
const ROW_BYTES: usize = size_of::<LabelledText>() + 32;

/// How texts and labels stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableFormat {
    /// Columns between tabs, with or without a line of their names. Quotes are text, unless all of the file is quoted.
    Tsv,
    /// Columns between commas as RFC 4180 has them, with or without a line of their names.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// `__label__X text`, fastText's form.
    FastText,
    /// `label text`: the first word of a line is its label.
    LabelFirst,
    /// A text a line, without labels.
    Lines,
}

named!(TableFormat, "format", {
    Tsv => "tsv", Csv => "csv", Jsonl => "jsonl", FastText => "fasttext", LabelFirst => "label-first", Lines => "lines",
});

impl TableFormat {
    /// What the ending of a name says, before `.gz` or `.zst`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    /// use refrain::data::table::TableFormat;
    ///
    /// assert_eq!(TableFormat::from_ending(Path::new("train.tsv.zst")), Some(TableFormat::Tsv));
    /// assert_eq!(TableFormat::from_ending(Path::new("train.txt")), None);
    /// ```
    #[must_use]
    pub fn from_ending(path: &Path) -> Option<Self> {
        match super::rows::ending(path)?.as_str() {
            "tsv" | "tab" => Some(Self::Tsv),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    /// Whether it has columns or keys to choose from.
    #[must_use]
    pub fn has_columns(self) -> bool {
        matches!(self, Self::Tsv | Self::Csv | Self::Jsonl)
    }
}

/// Which columns are the text and the label; what is `None` is guessed.
///
/// A column is a name in the first line, or a number from 1 (a name that is itself a number cannot be given); of JSON a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumns {
    /// The column of the text.
    pub text: Option<String>,
    /// The column of the label.
    pub label: Option<String>,
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// The format; `None`: as the ending says.
    pub format: Option<TableFormat>,
    /// The columns.
    pub columns: TableColumns,
    /// What the columns are.
    pub roles: Roles,
    /// Whether every row must have a label. Where not, labels that are there are read too, and a label's column that is
    /// not there is no error.
    pub labelled: bool,
    /// What happens to a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// The most memory that what is read may take: the bytes of all files, unpacked, and what a row takes beside them.
    pub max_bytes: u64,
    /// How many lines are read ahead to guess from, from 1. Where rows come one by one and each is to be answered before the
    /// next, it is 1.
    pub sample_rows: usize,
}

impl Default for TableOptions {
    /// Labelled, errors for bad rows, [`DEFAULT_MAX_BYTES`], [`DEFAULT_SAMPLE_ROWS`]; all else is guessed.
    fn default() -> Self {
        Self {
            format: None,
            columns: TableColumns::default(),
            roles: Roles::Labelled,
            labelled: true,
            on_bad_row: OnBadRow::Error,
            max_bytes: DEFAULT_MAX_BYTES,
            sample_rows: DEFAULT_SAMPLE_ROWS,
        }
    }
}

impl TableOptions {
    /// For rows that may lack a label.
    #[must_use]
    pub fn unlabelled() -> Self {
        Self {
            labelled: false,
            ..Self::default()
        }
    }
}

/// A text and its label, both just as they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledText {
    /// The text; more than white space.
    pub text: String,
    /// The label; `None` where the row has none.
    pub label: Option<String>,
    /// The line where the row begins, from 1.
    pub line: u64,
}

/// All rows of one or more tables.
#[derive(Clone, Debug)]
pub struct LabelledTexts {
    /// The rows, at least one.
    pub rows: Vec<LabelledText>,
    /// How many of them each file has, in the order of the files.
    pub counts: Vec<usize>,
    /// How many rows were left out.
    pub skipped: u64,
    /// What was changed and guessed.
    pub notes: RowNotes,
    /// The columns that were taken, of the first file; others are read alike if they are given.
    pub columns: TableColumns,
    /// The SHA-256 of the bytes of all files, unpacked, in hexadecimal digits.
    pub sha256: String,
}

/// Reads tables one after the other; `-` is `stdin`. What was guessed about the first holds for all.
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) where a file cannot be read; [`Error::Data`](crate::Error::Data) with line and column for
/// a bad row; [`Error::Setting`](crate::Error::Setting) for a column that is not there;
/// [`Error::Unusable`](crate::Error::Unusable) where it is not clear what stands where, where there is no row, or where the
/// rows take more than [`TableOptions::max_bytes`].
///
/// # Panics
///
/// Where [`TableOptions::sample_rows`] is 0.
pub fn read_table<'a>(
    paths: &[impl AsRef<Path>],
    options: &TableOptions,
    stdin: Option<Box<dyn Read + 'a>>,
) -> Result<LabelledTexts> {
    let mut first: Option<(TableFormat, TableColumns)> = None;
    let read = rows::collect(paths, options.max_bytes, stdin, |lines, path| {
        let mut options = options.clone();
        let format = options.format.or_else(|| TableFormat::from_ending(path));
        if let Some((_, columns)) = first.as_ref().filter(|first| format == Some(first.0)) {
            options.columns = columns.clone();
        }
        let reader = TableReader::from_lines(lines, path, &options)?;
        first.get_or_insert_with(|| (reader.format(), reader.columns().clone()));
        Ok(reader)
    })?;
    Ok(LabelledTexts {
        rows: read.rows,
        counts: read.counts,
        skipped: read.skipped,
        notes: read.notes,
        columns: first.map(|first| first.1).unwrap_or_default(),
        sha256: read.sha256,
    })
}

#[cfg(test)]
mod tests;
