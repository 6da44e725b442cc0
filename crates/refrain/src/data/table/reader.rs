//! The rows of one table, in constant memory.

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::path::Path;

use super::super::rows::{
    BadRows, Lines, MAX_LINE_BYTES, Problem, RowNotes, Rows, Step, Tally, counted, shown,
};
use super::columns::{Layout, Sample, layout};
use super::fields::{Field, Record, Split, Splitter, tabs_are_quoted};
use super::json::{self, Keys};
use super::{LabelledText, Roles, TableColumns, TableFormat, TableOptions};
use crate::{Error, Result};

/// What fastText's labels begin with.
const LABEL_PREFIX: &str = "__label__";

/// Reads the rows of one table, in constant memory, whatever its size.
///
/// A bad row comes out as an error, or is left out and counted; the next row can be read after it. After any other error
/// it ends. Empty lines at the end are no rows, except of [`TableFormat::Lines`].
///
/// # Examples
///
/// ```
/// use refrain::data::table::{TableFormat, TableOptions, TableReader};
///
/// let content = "sentence\tlabel\na gripping film\t1\ndull\t0\n";
/// let options = TableOptions { format: Some(TableFormat::Tsv), ..TableOptions::default() };
/// let mut reader = TableReader::new(content.as_bytes(), "films", &options)?;
/// let row = reader.next().expect("a row")?;
/// assert_eq!((row.text.as_str(), row.label.as_deref(), row.line), ("a gripping film", Some("1"), 2));
/// # Ok::<(), refrain::Error>(())
/// ```
pub struct TableReader<'a> {
    lines: Ahead<'a>,
    format: TableFormat,
    parser: Parser,
    columns: TableColumns,
    wanted: Wanted,
    bad: BadRows,
    /// Empty lines since the last row.
    blank: u64,
    guesses: Vec<String>,
    ended: bool,
}

impl<'a> TableReader<'a> {
    /// Opens a file; `.gz` and `.zst` are unpacked on the way.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`Error::Io`] where the file cannot be opened.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn open(path: &Path, options: &TableOptions) -> Result<Self> {
        let lines = Lines::open(path, &mut None, Tally::new(options.max_bytes))?;
        Self::from_lines(lines, path, options)
    }

    /// Reads what a reader gives, for example standard input; messages call it `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where reading fails; [`Error::Setting`] where a column is given that is not there, or for a format that
    /// has none; [`Error::Unusable`] where the format or what stands where is not clear; [`Error::Data`] where none of the
    /// first rows can be read.
    ///
    /// # Panics
    ///
    /// Where [`TableOptions::sample_rows`] is 0.
    pub fn new(reader: impl Read + 'a, name: &str, options: &TableOptions) -> Result<Self> {
        let reader = Box::new(BufReader::new(reader));
        let lines = Lines::new(reader, name, Tally::new(options.max_bytes));
        Self::from_lines(lines, Path::new(name), options)
    }

    pub(super) fn from_lines(
        lines: Lines<'a>,
        path: &Path,
        options: &TableOptions,
    ) -> Result<Self> {
        assert!(options.sample_rows > 0, "a sample of no rows");
        let mut lines = Ahead::new(lines);
        let format = match options.format.or_else(|| TableFormat::from_ending(path)) {
            Some(format) => format,
            None => format_by_content(&mut lines)?,
        };
        check_options(format, options)?;
        let (parser, columns, guesses) = match format {
            TableFormat::Tsv | TableFormat::Csv => columns_of(&mut lines, format, options)?,
            TableFormat::Jsonl => keys_of(&mut lines, options)?,
            TableFormat::FastText | TableFormat::LabelFirst | TableFormat::Lines => {
                (Parser::Plain(format), TableColumns::default(), Vec::new())
            }
        };
        Ok(Self {
            lines,
            format,
            parser,
            columns,
            wanted: Wanted::of(options),
            bad: BadRows::new(options.on_bad_row),
            blank: 0,
            guesses,
            ended: false,
        })
    }

    /// The format that was given or found.
    #[must_use]
    pub fn format(&self) -> TableFormat {
        self.format
    }

    /// The columns that are read; none of formats that have none, nor of an empty file.
    #[must_use]
    pub fn columns(&self) -> &TableColumns {
        &self.columns
    }

    /// How many rows were left out so far.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.bad.skipped()
    }

    /// What was changed and guessed so far.
    #[must_use]
    pub fn notes(&self) -> RowNotes {
        RowNotes {
            text: self.lines.lines.notes(),
            guesses: self.guesses.clone(),
            first_skipped: self.bad.first().cloned(),
        }
    }

    /// The next row that can be used or is an error.
    fn advance(&mut self) -> Result<Option<LabelledText>> {
        loop {
            let next = self.lines.next().inspect_err(|_| self.ended = true)?;
            let Some((number, line)) = next else {
                let Some((problem, lines)) = self.parser.finish() else {
                    return Ok(None);
                };
                self.bad(problem, lines)?;
                continue;
            };
            let is_blank = matches!(&line, Ok(text) if self.parser.is_blank(text));
            if is_blank {
                self.blank += 1;
                continue;
            }
            if self.blank > 0 {
                self.lines.put_back(number, line);
                let problem = Problem::at(number - self.blank, 1)
                    .found("an empty line")
                    .expected("a row");
                self.blank -= 1;
                self.bad(problem, 1)?;
                continue;
            }
            let parsed = match line {
                Ok(text) => self.parser.parse(text, number, self.wanted),
                Err(problem) => self.parser.interrupt(problem),
            };
            match parsed {
                Parsed::Row(row) => return Ok(Some(row)),
                Parsed::Nothing => {}
                Parsed::Bad { problem, lines } => self.bad(problem, lines)?,
            }
        }
    }

    fn bad(&mut self, problem: Problem, lines: u64) -> Result<()> {
        self.bad.meet(problem, self.lines.lines.name(), lines)
    }
}

impl<'a> Rows<'a> for TableReader<'a> {
    type Row = LabelledText;

    const NOUN: &'static str = "row";
    const HINT: &'static str = "give a text a row";

    fn overhead(_: &LabelledText) -> usize {
        super::ROW_BYTES
    }

    fn lines(&mut self) -> &mut Lines<'a> {
        &mut self.lines.lines
    }

    fn finish(self) -> (Tally, u64, RowNotes) {
        let (skipped, notes) = (self.skipped(), self.notes());
        (self.lines.lines.into_tally(), skipped, notes)
    }
}

impl Iterator for TableReader<'_> {
    type Item = Result<LabelledText>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.advance();
        // A bad row is no reason to end.
        self.ended |= !matches!(result, Ok(Some(_)) | Err(Error::Data { .. }));
        result.transpose()
    }
}

type Line = Result<String, Problem>;

/// Lines of which the first were looked at.
struct Ahead<'a> {
    lines: Lines<'a>,
    queue: VecDeque<(u64, Line)>,
    /// Whether the last line was looked at.
    ended: bool,
}

impl<'a> Ahead<'a> {
    fn new(lines: Lines<'a>) -> Self {
        Self {
            lines,
            queue: VecDeque::new(),
            ended: false,
        }
    }

    fn read(&mut self) -> Result<Option<(u64, Line)>> {
        let line = match self.lines.advance()? {
            Step::Line => Ok(self.lines.take_text()),
            Step::Bad(problem) => Err(problem),
            Step::End => return Ok(None),
        };
        Ok(Some((self.lines.number(), line)))
    }

    fn next(&mut self) -> Result<Option<(u64, Line)>> {
        match self.queue.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read(),
        }
    }

    fn put_back(&mut self, number: u64, line: Line) {
        self.queue.push_front((number, line));
    }

    /// Looks at the first lines, so many or what is about a mebibyte.
    fn look(&mut self, count: usize) -> Result<&VecDeque<(u64, Line)>> {
        // Beside its text a line takes room in the queue.
        let length = |line: &(u64, Line)| line.1.as_ref().map_or(0, String::len) + 64;
        let mut bytes: usize = self.queue.iter().map(length).sum();
        while self.queue.len() < count && bytes < MAX_LINE_BYTES {
            let Some(line) = self.read()? else {
                self.ended = true;
                break;
            };
            bytes += length(&line);
            self.queue.push_back(line);
        }
        Ok(&self.queue)
    }
}

/// What a row must have.
#[derive(Clone, Copy)]
struct Wanted {
    roles: Roles,
    labelled: bool,
}

impl Wanted {
    fn of(options: &TableOptions) -> Self {
        Self {
            roles: options.roles,
            labelled: options.labelled,
        }
    }

    /// Of formats where a label is there whenever a row is.
    fn always(self) -> Self {
        Self {
            labelled: true,
            ..self
        }
    }
}

/// What a line gave.
enum Parsed {
    Row(LabelledText),
    Nothing,
    Bad { problem: Problem, lines: u64 },
}

impl From<Result<LabelledText, Problem>> for Parsed {
    fn from(row: Result<LabelledText, Problem>) -> Self {
        match row {
            Ok(row) => Self::Row(row),
            Err(problem) => Self::Bad { problem, lines: 1 },
        }
    }
}

/// How lines become rows.
enum Parser {
    Columns(Columns),
    Json(Keys),
    Plain(TableFormat),
    /// There is nothing but empty lines.
    Empty,
}

struct Columns {
    splitter: Splitter,
    layout: Layout,
    /// The names are still to come.
    before_header: bool,
    first_line: u64,
}

impl Parser {
    fn is_blank(&self, text: &str) -> bool {
        let goes_on = match self {
            Self::Plain(TableFormat::Lines) => return false,
            Self::Columns(columns) => columns.splitter.is_open(),
            Self::Json(_) | Self::Plain(_) | Self::Empty => false,
        };
        !goes_on && text.trim_matches(' ').is_empty()
    }

    fn parse(&mut self, text: String, line: u64, wanted: Wanted) -> Parsed {
        match self {
            Self::Columns(columns) => columns.parse(&text, line, wanted),
            Self::Json(keys) => json_row(keys, &text, line, wanted).into(),
            Self::Plain(TableFormat::FastText) => fasttext_row(&text, line, wanted).into(),
            Self::Plain(TableFormat::LabelFirst) => label_first_row(&text, line, wanted).into(),
            Self::Plain(_) | Self::Empty => {
                let text = Field {
                    text,
                    line,
                    column: 1,
                };
                row(line, text, None, wanted).into()
            }
        }
    }

    /// A line that is no text; a row that would go on in it ends.
    fn interrupt(&mut self, problem: Problem) -> Parsed {
        let lost = match self {
            Self::Columns(columns) => columns.splitter.finish().map_or(0, |open| open.1),
            Self::Json(_) | Self::Plain(_) | Self::Empty => 0,
        };
        Parsed::Bad {
            problem,
            lines: lost + 1,
        }
    }

    fn finish(&mut self) -> Option<(Problem, u64)> {
        match self {
            Self::Columns(columns) => columns.splitter.finish(),
            Self::Json(_) | Self::Plain(_) | Self::Empty => None,
        }
    }
}

impl Columns {
    fn parse(&mut self, text: &str, line: u64, wanted: Wanted) -> Parsed {
        match self.splitter.push(text, line) {
            Split::More => Parsed::Nothing,
            Split::Bad { problem, lines } => Parsed::Bad { problem, lines },
            Split::Record(_) if std::mem::take(&mut self.before_header) => Parsed::Nothing,
            Split::Record(record) => {
                let lines = line - record.line + 1;
                match self.row(record, wanted) {
                    Ok(row) => Parsed::Row(row),
                    Err(problem) => Parsed::Bad { problem, lines },
                }
            }
        }
    }

    fn row(&self, mut record: Record, wanted: Wanted) -> Result<LabelledText, Problem> {
        let (found, expected) = (record.fields.len(), self.layout.width);
        if found != expected {
            let place = record.fields.get(expected).or(record.fields.last());
            let (line, column) = place.map_or((record.line, 1), |f| (f.line, f.column));
            let problem = Problem::at(line, column)
                .found(counted(found, "column"))
                .expected(format!("{expected}, as in line {}", self.first_line));
            return Err(if found > expected {
                problem.hint("a text that holds what parts columns needs quotes, or another format")
            } else {
                problem
            });
        }
        let mut take = |column: usize| {
            let field = &mut record.fields[column];
            Field {
                text: std::mem::take(&mut field.text),
                ..*field
            }
        };
        let text = take(self.layout.text);
        let label = self.layout.label.map(take);
        row(record.line, text, label, wanted)
    }
}

/// A row out of its text and label, which must not be empty.
fn row(
    line: u64,
    text: Field,
    label: Option<Field>,
    wanted: Wanted,
) -> Result<LabelledText, Problem> {
    let [first, second] = wanted.roles.nouns();
    let empty = |field: &Field, what: &str| {
        let found = match field.text.as_str() {
            "" => format!("an empty {what}"),
            white => format!("a {what} of white space only, {}", shown(white)),
        };
        Problem::at(field.line, field.column)
            .found(found)
            .expected(format!("a {what}"))
    };
    let is_empty = |field: &Field| field.text.trim().is_empty();
    if is_empty(&text) {
        return Err(empty(&text, first));
    }
    let label = match label {
        Some(label) if !is_empty(&label) => Some(label.text),
        Some(label) if wanted.labelled => return Err(empty(&label, second)),
        Some(_) | None => None,
    };
    let text = text.text;
    Ok(LabelledText { text, label, line })
}

fn json_row(keys: &Keys, text: &str, line: u64, wanted: Wanted) -> Result<LabelledText, Problem> {
    let mut object = json::object(text, line)?;
    let field = |text: String| {
        if text.contains('\0') {
            let problem = Problem::at(line, 1).found("the character U+0000 (NUL)");
            return Err(problem.expected("text"));
        }
        Ok(Field {
            text,
            line,
            column: 1,
        })
    };
    // The label first, so that the message about a text that is missing still names the other keys.
    let label = match &keys.label {
        Some(key) => json::value(&mut object, key, line, wanted.labelled)?,
        None => None,
    };
    let text = json::value(&mut object, &keys.text, line, true)?.unwrap_or_default();
    let label = label.map(field).transpose()?;
    row(line, field(text)?, label, wanted)
}

fn fasttext_row(line_text: &str, line: u64, wanted: Wanted) -> Result<LabelledText, Problem> {
    let problem = |rest: &str| Problem::at(line, column_at(line_text, rest));
    let begin = line_text.trim_start();
    let Some(after) = begin.strip_prefix(LABEL_PREFIX) else {
        if wanted.labelled {
            return Err(problem(begin)
                .found(shown(begin))
                .expected(format!("`{LABEL_PREFIX}` and a label"))
                .hint("`--format` names another format: tsv, csv, jsonl, label-first"));
        }
        return row(line, field_at(line_text, line_text, line), None, wanted);
    };
    let (label, text) = first_word(after);
    if text.starts_with(LABEL_PREFIX) {
        return Err(problem(text)
            .found("a second label")
            .expected("one label and a text"));
    }
    let (text, label) = (
        field_at(line_text, text, line),
        field_at(line_text, label, line),
    );
    row(line, text, Some(label), wanted.always())
}

fn label_first_row(line_text: &str, line: u64, wanted: Wanted) -> Result<LabelledText, Problem> {
    let (label, text) = first_word(line_text.trim_start());
    let (text, label) = (
        field_at(line_text, text, line),
        field_at(line_text, label, line),
    );
    row(line, text, Some(label), wanted.always())
}

/// The first word, and what follows after white space.
fn first_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, &text[text.len()..]),
    }
}

/// A part of a line that reaches to its end, or begins there, as a field.
fn field_at(line_text: &str, part: &str, line: u64) -> Field {
    Field {
        text: part.to_owned(),
        line,
        column: column_at(line_text, part),
    }
}

/// Where a part that was cut out of `whole` begins, in characters from 1.
fn column_at(whole: &str, part: &str) -> u64 {
    let at = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    super::super::rows::column_of(whole, at)
}

fn format_by_content(lines: &mut Ahead<'_>) -> Result<TableFormat> {
    let name = lines.lines.name().to_owned();
    let labels = |line: &(u64, Line)| matches!(&line.1, Ok(text) if text.starts_with(LABEL_PREFIX));
    if lines.look(1)?.iter().any(labels) {
        return Ok(TableFormat::FastText);
    }
    Err(Error::Unusable {
        problem: format!("the name `{name}` does not tell the format of its lines"),
        hint: format!("`--format` does: {}", TableFormat::NAMES.join(", ")),
    })
}

fn check_options(format: TableFormat, options: &TableOptions) -> Result<()> {
    let columns = &options.columns;
    let [first, second] = options.roles.settings();
    let given = [(first, &columns.text), (second, &columns.label)];
    for (name, column) in given {
        if let (Some(column), false) = (column, format.has_columns()) {
            return Err(Error::Setting {
                name: name.into(),
                found: shown(column),
                expected: format!("nothing for the format `{format}`, which has no columns"),
                hint: "`tsv`, `csv` and `jsonl` have columns".into(),
            });
        }
    }
    if format == TableFormat::Lines && options.labelled {
        return Err(Error::Setting {
            name: "format".into(),
            found: "`lines`".into(),
            expected: "a format with labels: `tsv`, `csv`, `jsonl`, `fasttext` or `label-first`"
                .into(),
            hint: "lines of text alone are for `predict`".into(),
        });
    }
    Ok(())
}

type Found = (Parser, TableColumns, Vec<String>);

/// Finds out about columns by the first rows.
fn columns_of(lines: &mut Ahead<'_>, format: TableFormat, options: &TableOptions) -> Result<Found> {
    let path = lines.lines.name().to_owned();
    let delimiter = if format == TableFormat::Csv {
        ','
    } else {
        '\t'
    };
    let mut count = options.sample_rows;
    let (splitter, rows, bad) = loop {
        let sample = lines.look(count)?;
        let texts = sample.iter().filter_map(|line| line.1.as_deref().ok());
        let quoted = format == TableFormat::Csv || tabs_are_quoted(texts);
        let splitter = Splitter::new(delimiter, quoted);
        let (rows, bad) = records(splitter.clone(), sample);
        // A first row of many lines may be longer than the sample.
        if !rows.is_empty() || sample.len() < count {
            break (splitter, rows, bad);
        }
        count = count.saturating_mul(2);
    };
    let Some(first) = rows.first() else {
        return match bad {
            Some(problem) => Err(problem.into_error(&path)),
            None => nothing(lines),
        };
    };
    let first_line = first.line;
    let layout = layout(&Sample {
        path: &path,
        rows: &rows,
        columns: &options.columns,
        roles: options.roles,
        labelled: options.labelled,
        keys: false,
    })?;
    let mut guesses = layout.guesses.clone();
    if format == TableFormat::Tsv && splitter.is_quoted() {
        guesses.push(format!(
            "`{path}`: the quotes around fields are not part of them"
        ));
    }
    let columns = layout.columns();
    let parser = Parser::Columns(Columns {
        splitter,
        before_header: layout.header.is_some(),
        layout,
        first_line,
    });
    Ok((parser, columns, guesses))
}

/// The rows of a sample that can be read, and what is wrong with the first that cannot.
fn records(
    mut splitter: Splitter,
    sample: &VecDeque<(u64, Line)>,
) -> (Vec<Record>, Option<Problem>) {
    let (mut rows, mut bad) = (Vec::new(), None);
    for (number, line) in sample {
        match line {
            Err(problem) => {
                splitter.finish();
                bad.get_or_insert_with(|| problem.clone());
            }
            Ok(text) if !splitter.is_open() && text.trim_matches(' ').is_empty() => {}
            Ok(text) => match splitter.push(text, *number) {
                Split::Record(record) => rows.push(record),
                Split::More => {}
                Split::Bad { problem, .. } => {
                    bad.get_or_insert(problem);
                }
            },
        }
    }
    let open = splitter.finish().map(|(problem, _)| problem);
    (rows, bad.or(open))
}

/// Finds out about keys by the first object.
fn keys_of(lines: &mut Ahead<'_>, options: &TableOptions) -> Result<Found> {
    let path = lines.lines.name().to_owned();
    let columns = &options.columns;
    if let (Some(text), true) = (&columns.text, columns.label.is_some() || !options.labelled) {
        let keys = Keys {
            text: text.clone(),
            label: columns.label.clone(),
        };
        return Ok((Parser::Json(keys), columns.clone(), Vec::new()));
    }
    let mut first_bad = None;
    for count in 1..=options.sample_rows {
        let Some((number, line)) = lines.look(count)?.get(count - 1) else {
            break;
        };
        let object = match line {
            Ok(text) if text.trim_matches(' ').is_empty() => continue,
            Ok(text) => json::object(text, *number),
            Err(problem) => Err(problem.clone()),
        };
        match object {
            Ok(object) => {
                let (keys, guesses) = json::keys(&object, *number, &path, options)?;
                let columns = TableColumns {
                    text: Some(keys.text.clone()),
                    label: keys.label.clone(),
                };
                return Ok((Parser::Json(keys), columns, guesses));
            }
            Err(problem) => {
                first_bad.get_or_insert(problem);
            }
        }
    }
    match first_bad {
        Some(problem) => Err(problem.into_error(&path)),
        None => nothing(lines),
    }
}

/// Of a file without any row.
fn nothing(lines: &Ahead<'_>) -> Result<Found> {
    if lines.ended {
        return Ok((Parser::Empty, TableColumns::default(), Vec::new()));
    }
    let problem = Problem::at(1, 1)
        .found(format!("{} empty lines", lines.queue.len()))
        .expected("rows")
        .only_hint("leave the empty lines out");
    Err(problem.into_error(lines.lines.name()))
}
