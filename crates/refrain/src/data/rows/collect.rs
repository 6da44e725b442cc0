//! All rows of some files, and those that are left out: what the readers of rows have in common.

use std::io::Read;
use std::path::Path;

use super::{Lines, OnBadRow, Problem, RowNotes, Tally};
use crate::{Error, Result};

/// Rows that cannot be used: an error, or counted.
pub(in crate::data) struct BadRows {
    on_bad_row: OnBadRow,
    skipped: u64,
    /// The message about the first that was left out.
    first: Option<String>,
}

impl BadRows {
    pub(in crate::data) fn new(on_bad_row: OnBadRow) -> Self {
        Self {
            on_bad_row,
            skipped: 0,
            first: None,
        }
    }

    /// Leaves `rows` rows out because of a problem in the file `name`, or says that they are an error.
    pub(in crate::data) fn meet(&mut self, problem: Problem, name: &str, rows: u64) -> Result<()> {
        let error = problem.into_error(name);
        if self.on_bad_row == OnBadRow::Error {
            return Err(error);
        }
        self.skipped += rows;
        self.first.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    pub(in crate::data) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(in crate::data) fn first(&self) -> Option<&String> {
        self.first.as_ref()
    }
}

/// A reader of the rows of one file.
pub(in crate::data) trait Rows<'a>: Iterator<Item = Result<Self::Row>> {
    /// A row.
    type Row;

    /// What a row is called.
    const NOUN: &'static str;
    /// What to try where there is none.
    const HINT: &'static str;

    /// What a row takes in memory beside its text.
    fn overhead(row: &Self::Row) -> usize;

    /// The lines that it reads.
    fn lines(&mut self) -> &mut Lines<'a>;

    /// What was read, how many rows were left out, and what is to be said.
    fn finish(self) -> (Tally, u64, RowNotes);
}

/// All rows of some files.
pub(in crate::data) struct Collected<T> {
    /// At least one.
    pub(in crate::data) rows: Vec<T>,
    /// How many of them each file has.
    pub(in crate::data) counts: Vec<usize>,
    pub(in crate::data) skipped: u64,
    pub(in crate::data) notes: RowNotes,
    pub(in crate::data) sha256: String,
}

/// Reads files one after the other; `-` is `stdin`.
pub(in crate::data) fn collect<'a, R: Rows<'a>>(
    paths: &[impl AsRef<Path>],
    max_bytes: u64,
    mut stdin: Option<Box<dyn Read + 'a>>,
    mut open: impl FnMut(Lines<'a>, &Path) -> Result<R>,
) -> Result<Collected<R::Row>> {
    let mut tally = Tally::hashed(max_bytes);
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    let (mut skipped, mut notes) = (0, RowNotes::default());
    for path in paths {
        let path = path.as_ref();
        let mut reader = open(Lines::open(path, &mut stdin, tally)?, path)?;
        let before = rows.len();
        while let Some(row) = reader.next() {
            let row = row?;
            reader.lines().keep(R::overhead(&row))?;
            rows.push(row);
        }
        let (used, left_out, said) = reader.finish();
        if rows.len() == before {
            return Err(nothing(path, left_out, R::NOUN, R::HINT));
        }
        counts.push(rows.len() - before);
        skipped += left_out;
        notes.add(said);
        tally = used;
    }
    if rows.is_empty() {
        return Err(Error::Unusable {
            problem: format!("no file of {}s is given", R::NOUN),
            hint: "name a file".into(),
        });
    }
    Ok(Collected {
        rows,
        counts,
        skipped,
        notes,
        sha256: tally.sha256(),
    })
}

fn nothing(path: &Path, skipped: u64, noun: &str, hint: &str) -> Error {
    let path = path.display();
    match skipped {
        0 => Error::Unusable {
            problem: format!("`{path}` holds no {noun}"),
            hint: hint.into(),
        },
        _ => all_bad(&format!("`{path}`"), skipped, noun),
    }
}

/// The error where no row is left.
pub(in crate::data) fn all_bad(names: &str, skipped: u64, noun: &str) -> Error {
    Error::Unusable {
        problem: format!("{names}: all of the {noun}s ({skipped}) are bad and were left out"),
        hint: "`--on-bad-row error` tells what is wrong with the first".into(),
    }
}
