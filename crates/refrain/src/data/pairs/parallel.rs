//! Parallel files: line n of each belongs to line n of the others.

use std::path::PathBuf;

use super::super::parts::ReadData;
use super::super::rows::{BadRows, Lines, Problem, RowNotes, Step, Tally, all_bad};
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

/// Reads a file of sentences and those of their translations.
pub(super) fn read(paths: &[PathBuf], options: &PairOptions) -> Result<ReadData<Vec<Referenced>>> {
    let mut tally = Tally::hashed(options.max_bytes);
    let mut bad = BadRows::new(options.on_bad_row);
    let mut notes = RowNotes::default();
    let mut sides = Vec::with_capacity(paths.len());
    for path in paths {
        let lines = Lines::open(path, &mut None, tally)?;
        let (side, used) = read_side(lines, &mut bad, &mut notes)?;
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
                bad.meet(problem, &sides[side].name, 1)?;
                skipped += 1;
            }
        }
    }
    if rows.is_empty() {
        return Err(no_pair(&sides, skipped));
    }
    notes.first_skipped = bad.first().cloned();
    Ok(ReadData {
        raw: rows,
        sha256: tally.sha256(),
        skipped,
        notes: notes.sentences(skipped, "line"),
    })
}

fn read_side(
    mut lines: Lines<'_>,
    bad: &mut BadRows,
    notes: &mut RowNotes,
) -> Result<(Side, Tally)> {
    let name = lines.name().to_owned();
    let mut read = Vec::new();
    loop {
        let line = match lines.advance()? {
            Step::Line => Some(lines.text().trim().to_owned()),
            Step::Bad(problem) => {
                // Rows are counted below: there may be another bad line in the same one.
                bad.meet(problem, &name, 0)?;
                None
            }
            Step::End => break,
        };
        lines.keep(LINE_BYTES)?;
        read.push(line);
    }
    notes.text.add(lines.notes());
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
    if skipped > 0 {
        return all_bad(&names, skipped, "line");
    }
    Error::Unusable {
        problem: format!("{names} hold no sentence"),
        hint: "give a sentence a line, and its translation on the same line of the other file"
            .into(),
    }
}
