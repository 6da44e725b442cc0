//! Lines to fields: tabs, or commas with quotes as RFC 4180 has them.
//!
//! The `csv` crate stays in the tests, where it writes what is read here: its reader takes a quote in the middle of a
//! quoted field for text and lets a quote that is never closed swallow the rest of a file, however large.

use super::super::rows::{MAX_LINE_BYTES, Problem, counted, shown};

/// The most fields of a row: each takes some bytes beside its text.
const MAX_FIELDS: usize = 10_000;

/// A field and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::data) struct Field {
    pub(in crate::data) text: String,
    pub(in crate::data) line: u64,
    pub(in crate::data) column: u64,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::data) struct Record {
    /// The line that it begins in.
    pub(in crate::data) line: u64,
    pub(in crate::data) fields: Vec<Field>,
}

impl Record {
    pub(in crate::data) fn text(&self, column: usize) -> &str {
        self.fields.get(column).map_or("", |field| &field.text)
    }
}

/// What a line gave.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::data) enum Split {
    Record(Record),
    /// A quoted field goes on in the next line.
    More,
    Bad {
        problem: Problem,
        /// How many lines are lost with it.
        lines: u64,
    },
}

/// A row of which a quoted field goes on in the next line.
#[derive(Clone, Debug)]
struct Open {
    record: Record,
    field: Field,
    bytes: usize,
    lines: u64,
}

/// Splits lines into fields.
#[derive(Clone, Debug)]
pub(in crate::data) struct Splitter {
    delimiter: char,
    quoted: bool,
    open: Option<Box<Open>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    Closed,
}

impl Splitter {
    /// With `quoted` a field that begins with a quote ends with one, holds anything, and quotes twice.
    pub(in crate::data) fn new(delimiter: char, quoted: bool) -> Self {
        Self {
            delimiter,
            quoted,
            open: None,
        }
    }

    pub(super) fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Whether a row goes on in the next line.
    pub(in crate::data) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(in crate::data) fn push(&mut self, text: &str, line: u64) -> Split {
        if self.quoted {
            self.push_quoted(text, line)
        } else {
            self.push_plain(text, line)
        }
    }

    fn push_plain(&self, text: &str, line: u64) -> Split {
        let count = text.chars().filter(|&c| c == self.delimiter).count() + 1;
        if count > MAX_FIELDS {
            return too_many(line);
        }
        let mut column = 1;
        let field = |part: &str| {
            let begin = column;
            column += part.chars().count() as u64 + 1;
            Field {
                text: part.to_owned(),
                line,
                column: begin,
            }
        };
        let fields = text.split(self.delimiter).map(field).collect();
        Split::Record(Record { line, fields })
    }

    fn push_quoted(&mut self, text: &str, line: u64) -> Split {
        let (mut open, mut state) = match self.open.take() {
            Some(mut open) => {
                open.field.text.push('\n');
                (open, State::Quoted)
            }
            None => (Box::new(Open::new(line)), State::Start),
        };
        open.bytes += text.len() + 1;
        open.lines += 1;
        if open.bytes > MAX_LINE_BYTES + 1 {
            return open.never_closed("within 1 MiB");
        }
        for (column, c) in (1..).zip(text.chars()) {
            state = match (state, c) {
                (State::Start, '"') => State::Quoted,
                (State::Quoted, '"') => State::Closed,
                (State::Quoted, c) => open.take(c, State::Quoted),
                (State::Closed, '"') => open.take('"', State::Quoted),
                (_, c) if c == self.delimiter => {
                    open.end_field(line, column + 1);
                    if open.record.fields.len() >= MAX_FIELDS {
                        return too_many(line);
                    }
                    State::Start
                }
                (State::Closed, c) => return open.after_quote(c, self.delimiter, line, column),
                (State::Start | State::Plain, c) => open.take(c, State::Plain),
            };
        }
        if state == State::Quoted {
            self.open = Some(open);
            return Split::More;
        }
        open.end_field(line, 1);
        Split::Record(open.record)
    }

    /// At the end of a file: what is wrong if a quoted field goes on, and how many lines are lost.
    pub(in crate::data) fn finish(&mut self) -> Option<(Problem, u64)> {
        match self.open.take()?.never_closed("before the end of the file") {
            Split::Bad { problem, lines } => Some((problem, lines)),
            Split::Record(_) | Split::More => None,
        }
    }
}

impl Open {
    fn new(line: u64) -> Self {
        let fields = Vec::new();
        Self {
            record: Record { line, fields },
            field: Field {
                text: String::new(),
                line,
                column: 1,
            },
            bytes: 0,
            lines: 0,
        }
    }

    fn take(&mut self, c: char, state: State) -> State {
        self.field.text.push(c);
        state
    }

    /// Ends the field; the next one would begin at the given place.
    fn end_field(&mut self, line: u64, column: u64) {
        let text = String::new();
        let next = Field { text, line, column };
        self.record
            .fields
            .push(std::mem::replace(&mut self.field, next));
    }

    fn never_closed(&self, limit: &str) -> Split {
        let problem = Problem::at(self.field.line, self.field.column)
            .found(format!("a quote that is not closed {limit}"))
            .expected("a closing quote")
            .hint("a quote within a quoted field is written twice");
        Split::Bad {
            problem,
            lines: self.lines,
        }
    }

    fn after_quote(&self, c: char, delimiter: char, line: u64, column: u64) -> Split {
        let delimiter = if delimiter == '\t' { "tab" } else { "comma" };
        let problem = Problem::at(line, column)
            .found(format!("{} after a closing quote", shown(&c.to_string())))
            .expected(format!("a {delimiter}, the end of the row, or a quote"))
            .hint("a quote within a quoted field is written twice");
        Split::Bad {
            problem,
            lines: self.lines,
        }
    }
}

fn too_many(line: u64) -> Split {
    let problem = Problem::at(line, 1)
        .found(format!("more than {MAX_FIELDS} columns"))
        .expected(format!("at most {}", counted(MAX_FIELDS, "column")));
    Split::Bad { problem, lines: 1 }
}

/// Whether a table between tabs, of which these are the first lines, puts fields into quotes.
///
/// It does if it can be read so without a stray quote, and either some column is in quotes in every row, or each field in
/// quotes needs them (it holds a quote, a tab or a line break). Otherwise quotes are text, as in many corpora.
pub(super) fn tabs_are_quoted<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let mut splitter = Splitter::new('\t', true);
    let (mut rows, mut any, mut all_needed) = (0usize, false, true);
    let mut in_quotes: Vec<usize> = Vec::new();
    // The text of the row so far, which shows the quotes that its fields have lost.
    let mut raw = String::new();
    for (line, number) in lines.zip(1..) {
        raw.push_str(line);
        match splitter.push(line, number) {
            Split::More => raw.push('\n'),
            Split::Bad { .. } => return false,
            Split::Record(record) => {
                let mut rest = &raw[..];
                in_quotes.resize(in_quotes.len().max(record.fields.len()), 0);
                for (field, count) in record.fields.iter().zip(&mut in_quotes) {
                    let text = &field.text;
                    let quotes = text.matches('"').count();
                    let is_quoted = rest.starts_with('"');
                    if is_quoted {
                        *count += 1;
                        any = true;
                        all_needed &= quotes > 0 || text.contains(['\t', '\n']);
                    } else if quotes > 0 {
                        return false;
                    }
                    let length = text.len() + if is_quoted { quotes + 2 } else { 0 };
                    rest = rest.get(length + 1..).unwrap_or("");
                }
                rows += 1;
                raw.clear();
            }
        }
    }
    // A row that goes on where the sample ends says nothing.
    any && rows > 0 && (all_needed || in_quotes.contains(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(delimiter: char, quoted: bool, content: &str) -> Vec<Result<Vec<String>, String>> {
        let mut splitter = Splitter::new(delimiter, quoted);
        let mut found = Vec::new();
        for (line, number) in content.lines().zip(1..) {
            match splitter.push(line, number) {
                Split::Record(record) => {
                    found.push(Ok(record.fields.into_iter().map(|f| f.text).collect()));
                }
                Split::More => {}
                Split::Bad { problem, lines } => found.push(Err(format!(
                    "{}:{} {} ({lines})",
                    problem.line, problem.column, problem.found
                ))),
            }
        }
        if let Some((problem, lines)) = splitter.finish() {
            let (line, column) = (problem.line, problem.column);
            found.push(Err(format!("{line}:{column} {} ({lines})", problem.found)));
        }
        found
    }

    fn ok(fields: &[&str]) -> Result<Vec<String>, String> {
        Ok(fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn commas_follow_the_rfc() {
        let content = "a,b,\n\"a,\"\"b\"\"\",\"\",c\n\"two\nlines\",x\nit's 5\" wide,y\n";
        let found = split(',', true, content);
        assert_eq!(found[0], ok(&["a", "b", ""]));
        assert_eq!(found[1], ok(&["a,\"b\"", "", "c"]));
        assert_eq!(found[2], ok(&["two\nlines", "x"]));
        assert_eq!(found[3], ok(&["it's 5\" wide", "y"]));
    }

    #[test]
    fn stray_quotes_are_named_with_what_is_lost() {
        let found = split(',', true, "\"a\" b,c\nd,e\n");
        assert_eq!(
            found[0],
            Err("1:4 `␣` after a closing quote (1)".replace('␣', " "))
        );
        assert_eq!(found[1], ok(&["d", "e"]));
        let found = split(',', true, "a,b\nc,\"d\ne,f\ng,h");
        let expected = "2:3 a quote that is not closed before the end of the file (3)";
        assert_eq!(found[1], Err(expected.into()));
    }

    #[test]
    fn a_quote_swallows_at_most_a_mebibyte() {
        let long = "x".repeat(1000);
        let content = format!("a,b\n\"c,d\n{}e,f\n", format!("{long}\n").repeat(1100));
        let found = split(',', true, &content);
        let message = found[1].clone().unwrap_err();
        assert!(
            message.starts_with("2:1 a quote that is not closed within 1 MiB (10"),
            "{message}"
        );
        assert_eq!(found.last().unwrap(), &ok(&["e", "f"]));
    }

    #[test]
    fn too_many_fields_are_refused() {
        for quoted in [false, true] {
            let found = split(',', quoted, &",".repeat(MAX_FIELDS - 1));
            assert_eq!(found[0].as_ref().unwrap().len(), MAX_FIELDS);
            assert!(split(',', quoted, &",".repeat(MAX_FIELDS))[0].is_err());
        }
    }

    #[test]
    fn places_are_in_characters() {
        for quoted in [false, true] {
            let mut splitter = Splitter::new('\t', quoted);
            let Split::Record(record) = splitter.push("영화\té\tc", 7) else {
                panic!("no record");
            };
            let places: Vec<_> = record.fields.iter().map(|f| (f.line, f.column)).collect();
            assert_eq!(places, [(7, 1), (7, 4), (7, 6)]);
        }
    }

    #[test]
    fn quotes_between_tabs_are_taken_off_only_where_all_are_consistent() {
        for (content, expected) in [
            ("a\t1\nb\t0\n", false),
            // Stray quotes of a corpus.
            ("\"good\t1\nb\t0\n", false),
            ("\"good\" film\t1\nb\t0\n", false),
            ("\"good\"\t1\nb\t0\n", false),
            ("say \"\" it\t1\n\"b\"\"\"\t0\n", false),
            // Every row in quotes.
            ("\"a\"\t1\n\"b\"\t0\n", true),
            ("\"text\"\t\"label\"\n\"a\"\t1\n\"b\"\t0\n", true),
            // In quotes where needed.
            ("a\t1\n\"b \"\"c\"\"\"\t0\n", true),
            ("a\t1\n\"b\nc\"\t0\n", true),
            ("a\t1\n\"b\tc\"\t0\n", true),
            // Cut off within a row.
            ("\"a\"\t1\n\"b", true),
            ("\"a", false),
            ("", false),
        ] {
            assert_eq!(tabs_are_quoted(content.lines()), expected, "{content:?}");
        }
    }
}
