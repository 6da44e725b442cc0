//! Parallel files: line n of each belongs to line n of the others.

use std::path::PathBuf;

use super::super::parts::ReadData;
use super::super::rows::{Lines, OnBadRow, Problem, RowNotes, Step, Tally};
use super::{PairOptions, Referenced};
use crate::error::{Error, Result};

/// What a line takes in memory beside its text, here and in its row: twice itself, and what the allocator adds.
const LINE_BYTES: usize = 2 * size_of::<String>() + 32;

/// The lines of one file.
struct Side {
    name: String,
    /// Without white space at the ends; `None` where a line is bad.
    lines: Vec<Option<String>>,
}

impl Side {
    /// Lines up to the last that is not empty.
    fn filled(&self) -> usize {
        let is_empty = |line: &&Option<String>| line.as_deref() == Some("");
        self.lines.len() - self.lines.iter().rev().take_while(is_empty).count()
    }

    fn line(&mut self, at: usize) -> Option<String> {
        self.lines
            .get_mut(at)
            .map_or(Some(String::new()), Option::take)
    }
}

/// Bad lines and what becomes of them.
struct Bad {
    on_bad_row: OnBadRow,
    notes: RowNotes,
}

impl Bad {
    fn meet(&mut self, problem: Problem, name: &str) -> Result<()> {
        let error = problem.into_error(name);
        if self.on_bad_row == OnBadRow::Error {
            return Err(error);
        }
        let first = &mut self.notes.first_skipped;
        first.get_or_insert_with(|| error.to_string());
        Ok(())
    }
}

/// Reads a file of sentences and those of their translations.
pub(super) fn read(paths: &[PathBuf], options: &PairOptions) -> Result<ReadData<Vec<Referenced>>> {
    let mut tally = Tally::hashed(options.max_bytes);
    let mut bad = Bad {
        on_bad_row: options.on_bad_row,
        notes: RowNotes::default(),
    };
    let mut sides = Vec::with_capacity(paths.len());
    for path in paths {
        let lines = Lines::open(path, &mut None, tally)?;
        let (side, used) = read_side(lines, &mut bad)?;
        sides.push(side);
        tally = used;
    }
    let count = common_length(&sides)?;
    let (mut rows, mut skipped) = (Vec::new(), 0);
    for at in 0..count {
        match row(&mut sides, at) {
            Ok(Some(row)) => rows.push(row),
            // What is wrong with it was met when it was read.
            Ok(None) => skipped += 1,
            Err((side, problem)) => {
                bad.meet(problem, &sides[side].name)?;
                skipped += 1;
            }
        }
    }
    if rows.is_empty() {
        return Err(no_pair(&sides, skipped));
    }
    Ok(ReadData {
        raw: rows,
        sha256: tally.sha256(),
        skipped,
        notes: bad.notes.sentences(skipped, "line"),
    })
}

fn read_side(mut lines: Lines<'_>, bad: &mut Bad) -> Result<(Side, Tally)> {
    let name = lines.name().to_owned();
    let mut read = Vec::new();
    loop {
        let line = match lines.advance()? {
            Step::Line => Some(lines.text().trim().to_owned()),
            Step::Bad(problem) => {
                bad.meet(problem, &name)?;
                None
            }
            Step::End => break,
        };
        lines.tally_mut().keep(LINE_BYTES, &name)?;
        read.push(line);
    }
    bad.notes.text.add(lines.notes());
    Ok((Side { name, lines: read }, lines.into_tally()))
}

/// How many rows the files have together. Empty lines at the end of one are none.
fn common_length(sides: &[Side]) -> Result<usize> {
    let same = |length: fn(&Side) -> usize| {
        let first = sides.first().map_or(0, length);
        sides.iter().all(|side| length(side) == first)
    };
    let filled = sides.iter().map(Side::filled).max().unwrap_or(0);
    if same(|side| side.lines.len()) || same(Side::filled) {
        return Ok(filled);
    }
    let lengths: Vec<_> = sides
        .iter()
        .map(|side| format!("`{}` has {} lines", side.name, side.lines.len()))
        .collect();
    Err(Error::Unusable {
        problem: format!(
            "{}: line n of each belongs to line n of the other, so they must have as many",
            lengths.join(", ")
        ),
        hint: "find where a line is missing or broken in two; a sentence without a translation is an empty line, to be left out by `--on-bad-row skip`"
            .into(),
    })
}

/// A row, `None` where a line of it is bad, or what is wrong with it and in which file.
fn row(sides: &mut [Side], at: usize) -> Result<Option<Referenced>, (usize, Problem)> {
    let mut texts = Vec::with_capacity(sides.len());
    for side in &mut *sides {
        let Some(text) = side.line(at) else {
            return Ok(None);
        };
        texts.push(text);
    }
    let line = at as u64 + 1;
    let source = texts.remove(0);
    texts.retain(|text| !text.is_empty());
    let side = match (source.is_empty(), texts.is_empty()) {
        (false, false) => {
            return Ok(Some(Referenced {
                source,
                references: texts,
                line,
            }));
        }
        (true, _) => 0,
        (false, true) => 1,
    };
    let problem = Problem::at(line, 1).found("an empty line");
    let other = &sides[1 - side].name;
    Err((
        side,
        problem.expected(format!(
            "a sentence that belongs to line {line} of `{other}`"
        )),
    ))
}

fn no_pair(sides: &[Side], skipped: u64) -> Error {
    let names: Vec<_> = sides.iter().map(|s| format!("`{}`", s.name)).collect();
    let names = names.join(" and ");
    match skipped {
        0 => Error::Unusable {
            problem: format!("{names} hold no sentence"),
            hint: "give a sentence a line, and its translation on the same line of the other file"
                .into(),
        },
        _ => Error::Unusable {
            problem: format!("{names}: all of their lines ({skipped}) are bad and were left out"),
            hint: "`--on-bad-row error` tells what is wrong with the first".into(),
        },
    }
}
