//! Sentences and their translations: parallel files, line by line, or tables of two columns.

mod parallel;
mod sides;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::labelled::reader;
use super::parts::{self, PartSources, Parts, ReadData};
use super::table::{LabelledText, Roles, TableColumns, TableFormat, TableOptions, read_table};
use super::{Format, OnBadRow};
use crate::error::{Error, Result};

pub use super::text::DEFAULT_MAX_BYTES;
pub use sides::both_sides;

/// A sentence and its translation, without white space at their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPair {
    /// The sentence, not empty.
    pub source: String,
    /// Its translation, not empty.
    pub target: String,
    /// The line where they stand, from 1.
    pub line: u64,
}

/// A sentence and what people made of it, to be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// The sentence, not empty.
    pub source: String,
    /// Its translations, at least one, none of them empty.
    pub references: Vec<String>,
    /// The line where they stand, from 1.
    pub line: u64,
}

/// How sentence pairs are read.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// How they are written; `None` is as the endings say: tables end so, all else are parallel files ([`Format::Lines`]).
    pub format: Option<Format>,
    /// The column of the sentence in a table: a name or a number from 1. `None` is `source`, else the first one.
    pub source_column: Option<String>,
    /// The column of its translation. `None` is `target`, else the second one.
    pub target_column: Option<String>,
    /// What happens to a line of which a side cannot be used.
    pub on_bad_row: OnBadRow,
    /// The most memory that what is read may take.
    pub max_bytes: u64,
}

impl Default for PairOptions {
    /// All by the endings and names, errors for bad rows, [`DEFAULT_MAX_BYTES`].
    fn default() -> Self {
        Self {
            format: None,
            source_column: None,
            target_column: None,
            on_bad_row: OnBadRow::Error,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }
}

impl PairOptions {
    /// The format of the table that a file is, if it is one.
    fn table(&self, path: &Path) -> Option<TableFormat> {
        match self.format {
            Some(format) => format.table().filter(|table| table.has_columns()),
            None => TableFormat::from_ending(path),
        }
    }

    fn columns(&self) -> TableColumns {
        TableColumns {
            text: self.source_column.clone(),
            label: self.target_column.clone(),
        }
    }
}

/// Pairs that were read.
pub type ReadPairs = ReadData<Vec<TextPair>>;

/// Reads two parallel files (line n of the second is the translation of line n of the first), or any number of tables.
///
/// Empty lines at the end are no pairs. `-` is `stdin`, and can be a table only.
///
/// # Errors
/// [`Error::Io`] where a file cannot be read; [`Error::Data`] with file, line and column for a row that is not text or has an
/// empty side; [`Error::Setting`] for a column that is not there; [`Error::Unusable`] where parallel files differ in length,
/// where there are not two of them, where there is no pair, or where the pairs take too much memory.
pub fn read_pairs(
    paths: &[PathBuf],
    options: &PairOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadPairs> {
    if paths.len() > 2 && paths.iter().all(|path| options.table(path).is_none()) {
        return Err(Error::Unusable {
            problem: format!(
                "{} files of sentences are given, expected two parallel files: the source and the target",
                paths.len()
            ),
            hint: "join files of one language before; of tables there can be any number".into(),
        });
    }
    let pair = |found: Referenced| TextPair {
        source: found.source,
        target: found.references.into_iter().next().unwrap_or_default(),
        line: found.line,
    };
    let read = read_references(paths, options, stdin)?;
    Ok(read.map(|found| found.into_iter().map(pair).collect()))
}

/// Reads sentences and references: a file of sentences and one or more parallel files of references, or any number of tables.
///
/// A sentence needs one reference; an empty line in the file of another is none.
///
/// # Errors
/// As [`read_pairs`].
pub fn read_references(
    paths: &[PathBuf],
    options: &PairOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadData<Vec<Referenced>>> {
    check(paths, options)?;
    match paths.first().and_then(|path| options.table(path)) {
        Some(format) => tables(paths, format, options, stdin),
        None => parallel::read(paths, options),
    }
}

/// Refuses paths of two kinds, and what parallel files cannot be.
fn check(paths: &[PathBuf], options: &PairOptions) -> Result<()> {
    if let Some(format) = options.format
        && format != Format::Lines
        && format.table().is_none_or(|table| !table.has_columns())
    {
        return Err(Error::Setting {
            name: "format".into(),
            found: format!("`{format}`"),
            expected: "`tsv`, `csv` or `jsonl` for tables, `lines` for parallel files".into(),
            hint: "leave it out where the ending tells the format".into(),
        });
    }
    let tables = |is: bool| {
        paths
            .iter()
            .find(|path| options.table(path).is_some() == is)
    };
    match (tables(true), tables(false), paths) {
        (Some(table), Some(other), _) => Err(Error::Unusable {
            problem: format!(
                "`{}` is a table and `{}` is not: expected two parallel files, or tables",
                table.display(),
                other.display()
            ),
            hint: "`--format` tells what they are: lines, tsv, csv, jsonl".into(),
        }),
        (_, Some(path), [_]) => Err(Error::Unusable {
            problem: format!(
                "`{}` is one file of sentences, expected two parallel files, or a table",
                path.display()
            ),
            hint: "name the file of the other language after it; tables end in .tsv, .csv or .jsonl, or have a `--format`"
                .into(),
        }),
        (None, None, _) => Err(Error::Unusable {
            problem: "no file of sentences is given".into(),
            hint: "name two parallel files, or a table".into(),
        }),
        (None, Some(_), _) => check_parallel(paths, options),
        (Some(_), None, _) => Ok(()),
    }
}

fn check_parallel(paths: &[PathBuf], options: &PairOptions) -> Result<()> {
    if paths.iter().any(|path| path.as_os_str() == "-") {
        return Err(Error::Unusable {
            problem: "`-` (standard input) cannot be one of two parallel files".into(),
            hint: "write it to a file, or give a table: `--format tsv`".into(),
        });
    }
    let given = [
        ("source-column", &options.source_column),
        ("target-column", &options.target_column),
    ];
    for (name, column) in given {
        if let Some(column) = column {
            return Err(Error::Setting {
                name: name.into(),
                found: super::rows::shown(column),
                expected: "nothing for parallel files, which have no columns".into(),
                hint: "tables have columns: `--format tsv`, `csv` or `jsonl`".into(),
            });
        }
    }
    Ok(())
}

fn tables(
    paths: &[PathBuf],
    format: TableFormat,
    options: &PairOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadData<Vec<Referenced>>> {
    let table = TableOptions {
        // Tables of several formats have endings.
        format: options.format.map(|_| format),
        columns: options.columns(),
        roles: Roles::Pairs,
        on_bad_row: options.on_bad_row,
        max_bytes: options.max_bytes,
        ..TableOptions::default()
    };
    let read = read_table(paths, &table, reader(stdin))?;
    let row = |row: LabelledText| Referenced {
        source: row.text.trim().to_owned(),
        references: vec![row.label.unwrap_or_default().trim().to_owned()],
        line: row.line,
    };
    Ok(ReadData {
        notes: read.notes.sentences(read.skipped, "row"),
        raw: read.rows.into_iter().map(row).collect(),
        sha256: read.sha256,
        skipped: read.skipped,
    })
}

/// Reads pairs and their parts. Fractions are held back at random (by the seed). A part that is a file of its own may be named
/// by one side or by what both sides have in common ([`both_sides`]), or as `SOURCE,TARGET`.
///
/// # Errors
/// As [`read_pairs`] and [`both_sides`]; [`Error::Unusable`] where nothing would be left to learn from.
pub fn read_pair_parts(
    sources: PartSources<'_>,
    options: &PairOptions,
    demo: impl FnOnce() -> Vec<TextPair>,
    stdin: Option<&[u8]>,
) -> Result<Parts<Vec<TextPair>>> {
    let read = if sources.paths.is_empty() {
        ReadData::built_in(demo())
    } else {
        read_pairs(sources.paths, options, stdin)?
    };
    parts::in_parts(sources, read, |path| {
        read_pairs(&both_sides(path, sources.paths, options)?, options, None)
    })
}
