//! From the lines of a table to numbers.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Cursor, Read};
use std::path::Path;

use super::super::rows::{Lines, OnBadRow, Problem, Step, Tally, counted, shown};
use super::super::table::fields::{Field, Record, Split, Splitter};
use super::times::{Writing, is_named};
use super::{Series, SeriesOptions, delimiter_of};
use crate::error::{Error, Result};

/// Rows that are looked at before it is decided what the columns are.
const SAMPLE_ROWS: usize = 256;
/// A step of time so many times as long as the first one is a gap.
const GAP: f64 = 1.6;

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Time(Writing),
}

/// The rows of a file, the bad ones among them.
struct Records<'a> {
    lines: Lines<'a>,
    delimiter: char,
    splitter: Splitter,
    ahead: VecDeque<Result<Record, Problem>>,
    /// The first of the empty lines since the last row.
    blank: Option<u64>,
    ended: bool,
}

impl<'a> Records<'a> {
    fn new(lines: Lines<'a>, delimiter: char) -> Self {
        Self {
            lines,
            delimiter,
            splitter: Splitter::new(delimiter, true),
            ahead: VecDeque::new(),
            blank: None,
            ended: false,
        }
    }

    /// Reads on until there is a row more.
    fn read(&mut self) -> Result<()> {
        while !self.ended {
            match self.lines.advance()? {
                Step::End => {
                    self.ended = true;
                    let open = self.splitter.finish().map(|(problem, _)| Err(problem));
                    self.ahead.extend(open);
                    return Ok(());
                }
                Step::Bad(problem) => {
                    self.splitter = Splitter::new(self.delimiter, true);
                    self.ahead.push_back(Err(problem));
                    return Ok(());
                }
                Step::Line => {}
            }
            let number = self.lines.number();
            if !self.splitter.is_open() && self.lines.text().trim().is_empty() {
                self.blank.get_or_insert(number);
                continue;
            }
            if let Some(blank) = self.blank.take() {
                let problem = Problem::at(blank, 1)
                    .found("an empty line")
                    .expected("a row");
                self.ahead.push_back(Err(problem));
            }
            match self.splitter.push(self.lines.text(), number) {
                Split::More => continue,
                Split::Record(record) => self.ahead.push_back(Ok(record)),
                Split::Bad { problem, .. } => self.ahead.push_back(Err(problem)),
            }
            return Ok(());
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Result<Record, Problem>>> {
        if self.ahead.is_empty() {
            self.read()?;
        }
        Ok(self.ahead.pop_front())
    }

    /// Rows that come next, without taking them.
    fn sample(&mut self) -> Result<Vec<&Record>> {
        while self.ahead.len() < SAMPLE_ROWS && !self.ended {
            self.read()?;
        }
        Ok(self
            .ahead
            .iter()
            .filter_map(|row| row.as_ref().ok())
            .collect())
    }
}

/// Reads a series; `-` is `stdin`.
///
/// The first line names the columns. What they are is decided by the first rows: numbers, or the time.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] with line and column for a row that cannot be used: a number of fields that is not that of the
/// names, a field that is empty or no number, a time that does not rise; [`Error::Unusable`] where there is no row, no column
/// of numbers, or more than [`SeriesOptions::max_bytes`].
pub fn read_series(path: &Path, options: &SeriesOptions, stdin: Option<&[u8]>) -> Result<Series> {
    let mut stdin = stdin.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>);
    let lines = Lines::open(path, &mut stdin, Tally::hashed(options.max_bytes))?;
    let delimiter = options.delimiter.unwrap_or_else(|| delimiter_of(path));
    let name = path.display().to_string();
    let mut records = Records::new(lines, delimiter);
    let header = header(&mut records, &name)?;
    let names = names(&header, &name)?;
    let kinds = kinds(&names, &mut records, &name)?;
    let mut reading = Reading::new(names, kinds, &name);
    let row_bytes = 8 * reading.series.columns.len();
    while let Some(row) = records.next()? {
        match row.and_then(|row| reading.take(&row)) {
            Ok(()) => records.lines.keep(row_bytes)?,
            Err(problem) => reading.refuse(problem, options.on_bad_row)?,
        }
    }
    reading.finish(records.lines)
}

fn unusable(problem: String, hint: &str) -> Error {
    Error::Unusable {
        problem,
        hint: hint.into(),
    }
}

/// The line of names.
fn header(records: &mut Records<'_>, name: &str) -> Result<Record> {
    let header = match records.next()? {
        None => {
            return Err(unusable(
                format!("`{name}` is empty"),
                "give a line of names, then a row for each step of time",
            ));
        }
        Some(Err(problem)) => return Err(problem.into_error(name)),
        Some(Ok(header)) => header,
    };
    let is_number = |field: &Field| field.text.trim().parse::<f64>().is_ok();
    if header.fields.iter().all(is_number) {
        let problem = Problem::at(header.line, 1)
            .found("a row of numbers")
            .expected("the names of the columns")
            .only_hint("put a line of names on top");
        return Err(problem.into_error(name));
    }
    let text = header.text(0);
    if let ([_], Some(other)) = (&header.fields[..], text.find([';', '\t', '|'])) {
        let problem = Problem::at(header.line, 1)
            .found(format!(
                "one column, with {} in its name",
                shown(&text[other..=other])
            ))
            .expected("columns between commas")
            .only_hint("columns stand between commas in `.csv` and between tabs in `.tsv`");
        return Err(problem.into_error(name));
    }
    Ok(header)
}

fn names(header: &Record, name: &str) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (field, number) in header.fields.iter().zip(1..) {
        let text = match field.text.trim() {
            "" => format!("column {number}"),
            text => text.to_owned(),
        };
        if !seen.insert(text.clone()) {
            let problem = Problem::at(field.line, field.column)
                .found(format!("the name {} a second time", shown(&text)))
                .expected("another name for each column")
                .only_hint("rename the column");
            return Err(problem.into_error(name));
        }
        names.push(text);
    }
    Ok(names)
}

/// What each column is, by its name and the first rows.
fn kinds(names: &[String], records: &mut Records<'_>, name: &str) -> Result<Vec<Kind>> {
    let sample = records.sample()?;
    let full: Vec<&&Record> = sample
        .iter()
        .filter(|row| row.fields.len() == names.len())
        .collect();
    let mut time: Option<&String> = None;
    let mut kinds = Vec::new();
    for (column, title) in names.iter().enumerate() {
        let texts: Vec<&str> = full.iter().map(|row| row.text(column).trim()).collect();
        let numbers = texts
            .iter()
            .filter(|text| text.parse::<f64>().is_ok())
            .count();
        let are_numbers = 2 * numbers >= texts.len();
        let writing = match (are_numbers, is_named(title)) {
            (true, true) => Some(Writing::Number),
            (true, false) => None,
            (false, _) => Writing::of(&texts),
        };
        let Some(writing) = writing else {
            if let (false, Some(first)) = (are_numbers, full.first()) {
                let field = &first.fields[column];
                return Err(Problem::at(field.line, field.column)
                    .found(format!("{} in column {}", shown(&field.text), shown(title)))
                    .expected("a number, or a date or time")
                    .only_hint("leave columns of text out of the file, or write them as numbers")
                    .into_error(name));
            }
            kinds.push(Kind::Number);
            continue;
        };
        if let Some(first) = time {
            return Err(unusable(
                format!(
                    "`{name}` has two columns of time, {} and {}",
                    shown(first),
                    shown(title)
                ),
                "keep one of them",
            ));
        }
        time = Some(title);
        kinds.push(Kind::Time(writing));
    }
    if !kinds.contains(&Kind::Number) {
        return Err(unusable(
            format!("`{name}` has no column of numbers"),
            "give a column for each thing that was measured",
        ));
    }
    Ok(kinds)
}

/// A series that is being read.
struct Reading<'a> {
    name: &'a str,
    names: Vec<String>,
    kinds: Vec<Kind>,
    series: Series,
    /// The last moment and its line.
    last: Option<(f64, u64)>,
    first_step: Option<f64>,
    /// Gaps in the time, and the line after the first.
    gaps: (u64, u64),
    first_skipped: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(names: Vec<String>, kinds: Vec<Kind>, name: &'a str) -> Self {
        let of = |is_number: bool| {
            let all = kinds.iter().enumerate();
            all.filter(move |(_, kind)| (**kind == Kind::Number) == is_number)
                .map(|(column, _)| column)
        };
        let series = Series {
            name: name.to_owned(),
            columns: of(true).map(|column| names[column].clone()).collect(),
            places: of(true).map(|column| column + 1).collect(),
            values: Vec::new(),
            time: of(false).next().map(|column| names[column].clone()),
            skipped: 0,
            sha256: String::new(),
            notes: Vec::new(),
        };
        Self {
            name,
            names,
            kinds,
            series,
            last: None,
            first_step: None,
            gaps: (0, 0),
            first_skipped: None,
        }
    }

    fn take(&mut self, row: &Record) -> Result<(), Problem> {
        let (found, expected) = (row.fields.len(), self.names.len());
        if found != expected {
            return Err(Problem::at(row.line, 1)
                .found(counted(found, "column"))
                .expected(format!("{expected}, as in the first line")));
        }
        let before = self.series.values.len();
        let mut moment = None;
        let columns = row.fields.iter().zip(&self.kinds).zip(&self.names);
        for ((field, kind), title) in columns {
            let read = match kind {
                Kind::Number => number(field, title).map(|value| self.series.values.push(value)),
                Kind::Time(writing) => {
                    time(field, title, writing, self.last).map(|at| moment = Some(at))
                }
            };
            if let Err(problem) = read {
                self.series.values.truncate(before);
                return Err(problem);
            }
        }
        if let Some(moment) = moment {
            self.go_on(moment, row.line);
        }
        Ok(())
    }

    /// Looks for gaps in the time.
    fn go_on(&mut self, moment: f64, line: u64) {
        if let Some((last, _)) = self.last {
            let step = moment - last;
            if step > GAP * *self.first_step.get_or_insert(step) {
                self.gaps.0 += 1;
                if self.gaps.0 == 1 {
                    self.gaps.1 = line;
                }
            }
        }
        self.last = Some((moment, line));
    }

    fn refuse(&mut self, problem: Problem, on_bad_row: OnBadRow) -> Result<()> {
        let error = problem.into_error(self.name);
        if on_bad_row == OnBadRow::Error {
            return Err(error);
        }
        self.series.skipped += 1;
        self.first_skipped.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    fn finish(self, lines: Lines<'_>) -> Result<Series> {
        let (mut series, notes) = (self.series, lines.notes());
        if series.values.is_empty() {
            let left_out = match series.skipped {
                0 => "has a line of names and no row".to_owned(),
                skipped => format!("has no good row: all {skipped} are bad and were left out"),
            };
            return Err(unusable(
                format!("`{}` {left_out}", self.name),
                "give a row for each step of time",
            ));
        }
        if notes.bom {
            series
                .notes
                .push("a byte order mark at the start was left out".into());
        }
        if notes.crlf > 0 {
            let said = format!("{} line ends of the form CRLF were read as LF", notes.crlf);
            series.notes.push(said);
        }
        if let (skipped @ 1.., Some(first)) = (series.skipped, &self.first_skipped) {
            let rows = counted(skipped as usize, "bad row");
            series.notes.push(format!(
                "{rows} left out, so that the steps of time are no longer even; the first: {first}"
            ));
        }
        if let (Some(time), (gaps @ 1.., line)) = (&series.time, self.gaps) {
            let gaps = counted(gaps as usize, "gap");
            series.notes.push(format!(
                "{gaps} in the time {}, the first before line {line}: rows are taken for even steps",
                shown(time)
            ));
        }
        series.sha256 = lines.into_tally().sha256();
        Ok(series)
    }
}

fn number(field: &Field, title: &str) -> Result<f64, Problem> {
    let text = field.text.trim();
    let problem = || Problem::at(field.line, field.column);
    let of = format!("in column {}", shown(title));
    if text.is_empty() {
        return Err(problem()
            .found(format!("nothing {of}"))
            .expected("a number")
            .hint("fill the gap, for example with the value before it"));
    }
    let value: Result<f64, _> = text.parse();
    match value {
        Ok(value) if value.abs() <= f64::from(f32::MAX) => Ok(value),
        Ok(_) => Err(problem()
            .found(format!("{} {of}", shown(text)))
            .expected("a finite number below 3.4e38")
            .hint("fill the gap, for example with the value before it")),
        Err(_) => Err(problem()
            .found(format!("{} {of}", shown(text)))
            .expected("a number")),
    }
}

fn time(
    field: &Field,
    title: &str,
    writing: &Writing,
    last: Option<(f64, u64)>,
) -> Result<f64, Problem> {
    let problem = || Problem::at(field.line, field.column);
    let found = format!("{} in column {}", shown(field.text.trim()), shown(title));
    let Some(moment) = writing.read(&field.text) else {
        return Err(problem().found(found).expected(writing.expected()));
    };
    match last {
        Some((last, line)) if moment == last => Err(problem()
            .found(format!("{found}, the time of line {line} again"))
            .expected("a later time in each row")
            .hint("keep one row for each step of time")),
        Some((last, line)) if moment < last => Err(problem()
            .found(format!("{found}, which is before that of line {line}"))
            .expected("a later time in each row")
            .hint("sort the rows by time")),
        _ => Ok(moment),
    }
}
