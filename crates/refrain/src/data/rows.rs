//! Lines of text files, and what is wrong with some: the base of the readers of labelled text.

mod collect;

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::source::{self, Packing, hex, io_error};
use super::symbols::TextNotes;
use crate::names::named;
use crate::{Error, Result};

pub(super) use collect::{BadRows, Rows, all_bad, collect};

/// The longest line, and the longest row of a table whose fields hold line breaks: 1 MiB.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The most bytes of a line to pass over at a time.
const PASSED_BYTES: u64 = 1 << 16;
const UTF8_BOM: &[u8] = &[0xEF, 0xBB, 0xBF];

/// What happens to a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadRow {
    /// It is an error.
    #[default]
    Error,
    /// It is left out and counted.
    Skip,
}

named!(OnBadRow, "on-bad-row", { Error => "error", Skip => "skip" });

/// What was changed, guessed and left out while labelled text was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowNotes {
    /// A byte order mark and line ends.
    pub text: TextNotes,
    /// What was guessed about the files, a sentence each.
    pub guesses: Vec<String>,
    /// The message about the first row that was left out.
    pub first_skipped: Option<String>,
}

impl RowNotes {
    pub(super) fn add(&mut self, other: Self) {
        self.text.add(other.text);
        for guess in other.guesses {
            if !self.guesses.contains(&guess) {
                self.guesses.push(guess);
            }
        }
        if self.first_skipped.is_none() {
            self.first_skipped = other.first_skipped;
        }
    }

    /// All of it, a sentence each.
    pub(super) fn sentences(&self, skipped: u64, what: &str) -> Vec<String> {
        let mut all = self.guesses.clone();
        if self.text.bom {
            all.push("a byte order mark at the start was left out".into());
        }
        if self.text.crlf > 0 {
            all.push(format!(
                "{} line ends of the form CRLF were read as LF",
                self.text.crlf
            ));
        }
        if skipped > 0 {
            let s = if skipped == 1 { "" } else { "s" };
            let first = self.first_skipped.as_deref().unwrap_or_default();
            all.push(format!(
                "{skipped} bad {what}{s} left out; the first: {first}"
            ));
        }
        all
    }
}

/// Why a row cannot be used; the file's name makes an [`Error`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) found: String,
    pub(super) expected: String,
    pub(super) hint: String,
}

impl Problem {
    /// At a line and column.
    pub(super) fn at(line: u64, column: u64) -> Self {
        Self {
            line,
            column,
            found: String::new(),
            expected: String::new(),
            hint: "`--on-bad-row skip` leaves such rows out".into(),
        }
    }

    pub(super) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = found.into();
        self
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Says what to try before rows are left out.
    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.hint = format!("{hint}; or {}", self.hint);
        self
    }

    /// Says what to try where leaving rows out is no way.
    pub(super) fn only_hint(mut self, hint: &str) -> Self {
        self.hint = hint.into();
        self
    }

    pub(super) fn into_error(self, path: &str) -> Error {
        Error::Data {
            path: path.into(),
            line: self.line,
            column: self.column,
            found: self.found,
            expected: self.expected,
            hint: self.hint,
        }
    }
}

/// A piece of a file, fit for a message: escaped and cut to a bearable length.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let cut: String = text.chars().take(LONGEST).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    let mut escaped = String::new();
    for c in cut.chars() {
        match c {
            '"' | '\'' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    format!("`{escaped}{dots}`")
}

/// `1 column`, `2 columns`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// The column of the byte at `at`, in characters from 1.
pub(super) fn column_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().iter().take(at);
    // Continuation bytes 0b10xx_xxxx begin no character.
    1 + before.filter(|&&byte| byte & 0xC0 != 0x80).count() as u64
}

/// The ending of a name in lower case, before that of a packed file.
pub(super) fn ending(path: &Path) -> Option<String> {
    let inner = match Packing::from_ending(path) {
        Some(_) => Path::new(path.file_stem()?),
        None => path,
    };
    Some(inner.extension()?.to_str()?.to_ascii_lowercase())
}

/// What has been read so far, over all files.
pub(super) struct Tally {
    max_bytes: u64,
    bytes: u64,
    /// What the rows kept take beside their text.
    overhead: u64,
    sha256: Option<Sha256>,
}

impl Tally {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            overhead: 0,
            sha256: None,
        }
    }

    /// Also hashes what is read.
    pub(super) fn hashed(max_bytes: u64) -> Self {
        Self {
            sha256: Some(Sha256::new()),
            ..Self::new(max_bytes)
        }
    }

    fn read(&mut self, bytes: &[u8], path: &str) -> Result<()> {
        self.bytes += bytes.len() as u64;
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
        self.check(path)
    }

    fn keep(&mut self, overhead: usize, path: &str) -> Result<()> {
        self.overhead += overhead as u64;
        self.check(path)
    }

    fn check(&self, path: &str) -> Result<()> {
        if self.bytes.saturating_add(self.overhead) <= self.max_bytes {
            return Ok(());
        }
        let limit = match self.max_bytes >> 20 {
            0 => format!("{} bytes", self.max_bytes),
            mb => format!("{mb} MB"),
        };
        Err(Error::Unusable {
            problem: format!("the data take more than the limit of {limit} (reached in `{path}`)"),
            hint: "give a part of the data, or more memory".into(),
        })
    }

    /// The SHA-256 of all bytes read, unpacked, in hexadecimal digits.
    pub(super) fn sha256(self) -> String {
        let digest = self.sha256.unwrap_or_default().finalize();
        hex(&digest).replace(' ', "").to_lowercase()
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tally({} of {} bytes)", self.bytes, self.max_bytes)
    }
}

/// What [`Lines::advance`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A line that is text, in [`Lines::text`].
    Line,
    /// A line that is not.
    Bad(Problem),
    /// The end of the file.
    End,
}

/// The lines of one file, in constant memory.
///
/// A byte order mark and the CR of CR LF are left out. A line that is longer than [`MAX_LINE_BYTES`], is not UTF-8 or
/// holds a NUL is bad.
pub(super) struct Lines<'a> {
    reader: Box<dyn BufRead + 'a>,
    name: String,
    number: u64,
    text: String,
    /// The bytes of a line that is not UTF-8, nor too long.
    bytes: Option<Vec<u8>>,
    notes: TextNotes,
    tally: Tally,
}

impl<'a> Lines<'a> {
    pub(super) fn new(reader: Box<dyn BufRead + 'a>, name: &str, tally: Tally) -> Self {
        Self {
            reader,
            name: name.into(),
            number: 0,
            text: String::new(),
            bytes: None,
            notes: TextNotes::default(),
            tally,
        }
    }

    /// Opens a file; `-` is `stdin`, once.
    pub(super) fn open(
        path: &Path,
        stdin: &mut Option<Box<dyn Read + 'a>>,
        tally: Tally,
    ) -> Result<Self> {
        let reader: Box<dyn BufRead + 'a> = if path.as_os_str() == "-" {
            let stdin = stdin.take().ok_or_else(|| Error::Unusable {
                problem: "`-` (standard input) cannot be read here, or a second time".into(),
                hint: "name a file".into(),
            })?;
            Box::new(BufReader::new(stdin))
        } else {
            source::open(path)?
        };
        Ok(Self::new(reader, &path.display().to_string(), tally))
    }

    /// Goes on to the next line.
    pub(super) fn advance(&mut self) -> Result<Step> {
        let mut raw = std::mem::take(&mut self.text).into_bytes();
        raw.clear();
        self.bytes = None;
        // One byte more than the longest line with a byte order mark and CR LF shows that a line is longer.
        let most = MAX_LINE_BYTES as u64 + 6;
        self.read_until_line_end(most, &mut raw)?;
        if raw.is_empty() {
            return Ok(Step::End);
        }
        self.number += 1;
        let cut = raw.last() != Some(&b'\n') && raw.len() as u64 == most;
        if cut {
            self.pass_line_end()?;
        }
        if self.number == 1 {
            self.check_start(&mut raw)?;
        }
        if raw.last() == Some(&b'\n') {
            raw.pop();
            if raw.last() == Some(&b'\r') {
                raw.pop();
                self.notes.crlf += 1;
            }
        }
        if cut || raw.len() > MAX_LINE_BYTES {
            let problem = Problem::at(self.number, MAX_LINE_BYTES as u64 + 1)
                .found("a line of more than 1 MiB")
                .expected("a line break before here");
            return Ok(Step::Bad(problem));
        }
        Ok(self.decode(raw))
    }

    fn decode(&mut self, raw: Vec<u8>) -> Step {
        let text = match String::from_utf8(raw) {
            Ok(text) => text,
            Err(error) => {
                let problem = self.not_utf8(error.utf8_error(), error.as_bytes());
                self.bytes = Some(error.into_bytes());
                return Step::Bad(problem);
            }
        };
        let nul = text.find('\0').map(|at| column_of(&text, at));
        self.text = text;
        match nul {
            None => Step::Line,
            Some(column) => Step::Bad(
                Problem::at(self.number, column)
                    .found("the byte 00 (NUL)")
                    .expected("text")
                    .hint("convert UTF-16 by `iconv -f UTF-16 -t UTF-8`"),
            ),
        }
    }

    fn read_until_line_end(&mut self, most: u64, raw: &mut Vec<u8>) -> Result<()> {
        let from = raw.len();
        let mut part = self.reader.by_ref().take(most);
        part.read_until(b'\n', raw)
            .map_err(|error| io_error("read", Path::new(&self.name), error))?;
        self.tally.read(&raw[from..], &self.name)
    }

    /// Passes over the rest of a line.
    fn pass_line_end(&mut self) -> Result<()> {
        let mut part = Vec::new();
        loop {
            part.clear();
            self.read_until_line_end(PASSED_BYTES, &mut part)?;
            if part.is_empty() || part.last() == Some(&b'\n') {
                return Ok(());
            }
        }
    }

    fn check_start(&mut self, raw: &mut Vec<u8>) -> Result<()> {
        let (found, hint) = if raw.starts_with(UTF8_BOM) {
            raw.drain(..UTF8_BOM.len());
            self.notes.bom = true;
            return Ok(());
        } else if raw.starts_with(&[0xFF, 0xFE]) || raw.starts_with(&[0xFE, 0xFF]) {
            let found = format!("the byte order mark of UTF-16, {}", hex(&raw[..2]));
            (
                found,
                "convert it first: `iconv -f UTF-16 -t UTF-8`".to_owned(),
            )
        } else if let Some(packing) = Packing::from_magic(raw) {
            let found = format!("a file packed by {}", packing.name());
            let hint = format!("unpack it, or let its name end in `{}`", packing.ending());
            (found, hint)
        } else {
            return Ok(());
        };
        let problem = Problem::at(1, 1).found(found).expected("UTF-8 text");
        Err(problem.only_hint(&hint).into_error(&self.name))
    }

    fn not_utf8(&self, error: std::str::Utf8Error, bytes: &[u8]) -> Problem {
        let (valid, wrong) = bytes.split_at(error.valid_up_to());
        let wrong = &wrong[..error.error_len().unwrap_or(wrong.len())];
        let valid = std::str::from_utf8(valid).unwrap_or_default();
        let noun = if wrong.len() == 1 { "byte" } else { "bytes" };
        Problem::at(self.number, column_of(valid, valid.len()))
            .found(format!("the {noun} {}", hex(wrong)))
            .expected("UTF-8 text")
            .hint("convert the file: `iconv -f ISO-8859-1 -t UTF-8`")
    }

    /// The line that [`advance`](Self::advance) came to.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of a line that is bad because it is not UTF-8.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Moves it out.
    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Its number, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn notes(&self) -> TextNotes {
        self.notes
    }

    /// Counts what a row that is kept takes beside its text.
    pub(super) fn keep(&mut self, overhead: usize) -> Result<()> {
        self.tally.keep(overhead, &self.name)
    }

    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &[u8]) -> Lines<'_> {
        Lines::new(Box::new(content), "a.txt", Tally::hashed(u64::MAX))
    }

    fn all(content: &[u8]) -> Vec<(u64, Result<String, Problem>)> {
        let mut lines = lines(content);
        let mut found = Vec::new();
        loop {
            match lines.advance().unwrap() {
                Step::Line => found.push((lines.number(), Ok(lines.text().to_owned()))),
                Step::Bad(problem) => found.push((lines.number(), Err(problem))),
                Step::End => return found,
            }
        }
    }

    #[test]
    fn marks_and_line_ends_are_left_out() {
        let content = b"\xEF\xBB\xBFa\r\n\r\nb\rc\n\nd\r";
        let texts: Vec<_> = all(content).into_iter().map(|l| l.1.unwrap()).collect();
        assert_eq!(texts, ["a", "", "b\rc", "", "d\r"]);
        let mut lines = lines(content);
        while lines.advance().unwrap() != Step::End {}
        assert_eq!(lines.notes(), TextNotes { bom: true, crlf: 2 });
        let digest = hex(&Sha256::digest(content)).replace(' ', "");
        assert_eq!(lines.into_tally().sha256(), digest.to_lowercase());
    }

    #[test]
    fn a_bad_line_is_named_and_the_next_is_read() {
        let found = all(b"a\nh\xC3\xA9\xFF\n\xED\x95\n\xC3\xA9\0\nb");
        let problem = |at: usize| found[at].1.clone().unwrap_err();
        assert_eq!((problem(1).line, problem(1).column), (2, 3));
        assert_eq!(problem(1).found, "the byte FF");
        assert_eq!(problem(2).found, "the bytes ED 95");
        assert_eq!((problem(3).line, problem(3).column), (4, 2));
        assert_eq!(found[4].1.as_deref(), Ok("b"));
    }

    #[test]
    fn the_longest_line_is_a_mebibyte() {
        for (bytes, end, good) in [
            (MAX_LINE_BYTES, "\n", true),
            (MAX_LINE_BYTES, "\r\n", true),
            (MAX_LINE_BYTES, "", true),
            (MAX_LINE_BYTES + 1, "\n", false),
            (MAX_LINE_BYTES + 1, "", false),
            (MAX_LINE_BYTES + 2, "\n", false),
            (MAX_LINE_BYTES + 3, "\n", false),
            (MAX_LINE_BYTES + 200_000, "\r\n", false),
        ] {
            let content = format!("{}{end}", "x".repeat(bytes));
            let found = all(content.as_bytes());
            assert_eq!(found.len(), 1, "{bytes}");
            assert_eq!(found[0].1.is_ok(), good, "{bytes}");
            if !end.is_empty() {
                let found = all(format!("{content}b\n").as_bytes());
                assert_eq!(found[1], (2, Ok("b".into())), "{bytes}");
            }
        }
    }

    #[test]
    fn other_encodings_and_packed_files_are_refused() {
        for (content, expected) in [
            (&b"\xFF\xFEa\0"[..], "the byte order mark of UTF-16, FF FE"),
            (b"\xFE\xFF\0a", "UTF-16, FE FF"),
            (b"\x1F\x8B\x08", "a file packed by gzip"),
            (b"\x28\xB5\x2F\xFD\n", "a file packed by zstd"),
        ] {
            let error = lines(content).advance().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_limit_holds_while_a_line_is_passed_over() {
        let content = "x".repeat(MAX_LINE_BYTES * 4);
        let reader = Box::new(content.as_bytes());
        let mut lines = Lines::new(reader, "a.txt", Tally::new(MAX_LINE_BYTES as u64 * 2));
        let error = lines.advance().unwrap_err().to_string();
        assert!(
            error.contains("the limit of 2 MB (reached in `a.txt`)"),
            "{error}"
        );
    }

    #[test]
    fn texts_are_shown_short_and_escaped() {
        assert_eq!(shown("a\t\u{1B}\"b'"), "`a\\t\\u{1b}\"b'`");
        assert_eq!(shown(&"é".repeat(41)), format!("`{}…`", "é".repeat(40)));
    }
}
