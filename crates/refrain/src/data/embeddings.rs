//! Vectors of words out of text files, as GloVe and fastText publish them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::rows::{Lines, Problem, Step, Tally, counted, shown};
use crate::{Error, Result};

/// The most numbers of a vector.
pub const MAX_DIMENSION: usize = 10_000;
const SEPARATORS: [u8; 2] = [b' ', b'\t'];

/// Vectors of words.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The numbers of each vector, at least one.
    pub dimension: usize,
    /// The wanted words that have a vector, in the order in which they were given, each once.
    pub vectors: Vec<(String, Vec<f32>)>,
    /// How many of them have the vector of their lower-cased form.
    pub lower_cased: u64,
    /// How many vectors the file holds.
    pub read: u64,
}

/// Reads the vectors of the wanted words; memory is taken for these alone, whatever the size of the file.
///
/// A line is a word, then its numbers, between spaces or tabs; a first line `count dimension` (fastText's) may precede. A word
/// may hold spaces: the last numbers, as many as the dimension, are the vector. Without a first line, the first vector tells
/// the dimension. A word that occurs twice has its first vector. A wanted word has the vector of just this word where there is
/// one, otherwise that of its lower-cased form (files of lower-cased words serve any text); never the other way round.
///
/// Numbers of other words are counted, not read. Words that are not UTF-8 are none that is wanted.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] with line and column where a line is no vector of the dimension
/// or a number of a wanted word is not finite; [`Error::Unusable`] where there is no vector or another number of them than the
/// first line says.
pub fn read_embeddings(path: &Path, wanted: &[impl AsRef<str>]) -> Result<Embeddings> {
    let lines = Lines::open(path, &mut None, Tally::new(u64::MAX))?;
    read(lines, wanted)
}

/// What a first line `count dimension` says.
#[derive(Clone, Copy, Debug)]
struct Header {
    count: u64,
    dimension: usize,
}

fn read(mut lines: Lines<'_>, wanted: &[impl AsRef<str>]) -> Result<Embeddings> {
    let name = lines.name().to_owned();
    let data = |problem: Problem| problem.into_error(&name);
    let mut found = Found::new(wanted);
    let mut header: Option<Header> = None;
    let mut dimension: Option<usize> = None;
    let mut read = 0;
    // Empty lines are none of the file's only at its end.
    let mut blank = None;
    loop {
        let step = lines.advance()?;
        let line = match (&step, lines.bytes()) {
            (Step::End, _) => break,
            (Step::Line, _) => lines.text().as_bytes(),
            (Step::Bad(_), Some(bytes)) => bytes,
            (Step::Bad(problem), None) => {
                let hint = "give the text form of the vectors, not the binary one";
                return Err(data(problem.clone().only_hint(hint)));
            }
        };
        let number = lines.number();
        if number == 1 {
            header = header_of(line).map_err(data)?;
            dimension = header.map(|header| header.dimension);
            if header.is_some() {
                continue;
            }
        }
        if trim_end(line).is_empty() {
            blank.get_or_insert(number);
            continue;
        }
        if let Some(blank) = blank {
            let problem = Problem::at(blank, 1).found("an empty line");
            return Err(data(
                problem
                    .expected("a word and its numbers")
                    .only_hint("leave the line out"),
            ));
        }
        let dimension = match dimension {
            Some(dimension) => dimension,
            None => *dimension.insert(dimension_of(line, number).map_err(data)?),
        };
        let row = Row::new(line, number, dimension).map_err(data)?;
        read += 1;
        if let Some(header) = header.filter(|header| read > header.count) {
            let problem = Problem::at(number, 1)
                .found(format!("vector {read}"))
                .expected(format!("{}, as line 1 says", header.count))
                .only_hint("the file was put together wrongly; take it anew");
            return Err(data(problem));
        }
        if let Some(vector) = found.place(row.word) {
            *vector = Some(row.vector().map_err(data)?);
        }
    }
    check_count(&name, header, read)?;
    let (vectors, lower_cased) = found.into_vectors(wanted);
    Ok(Embeddings {
        dimension: dimension.unwrap_or_default(),
        vectors,
        lower_cased,
        read,
    })
}

fn check_count(name: &str, header: Option<Header>, read: u64) -> Result<()> {
    match header {
        Some(header) if read < header.count => Err(Error::Unusable {
            problem: format!(
                "`{name}` ends after {}, its first line says {}",
                counted(read as usize, "vector"),
                header.count
            ),
            hint: "the file was cut off; take it anew".into(),
        }),
        _ if read == 0 => Err(Error::Unusable {
            problem: format!("`{name}` holds no vector"),
            hint: "a line is a word and its numbers, between spaces".into(),
        }),
        _ => Ok(()),
    }
}

/// The vectors of words that are wanted as they are or lower-cased.
struct Found {
    vectors: HashMap<String, Option<Vec<f32>>>,
}

impl Found {
    fn new(wanted: &[impl AsRef<str>]) -> Self {
        let mut vectors = HashMap::new();
        for word in wanted {
            let word = word.as_ref();
            vectors.insert(word.to_owned(), None);
            vectors.insert(word.to_lowercase(), None);
        }
        Self { vectors }
    }

    /// The place for the vector of a word that is wanted and has none yet.
    fn place(&mut self, word: &[u8]) -> Option<&mut Option<Vec<f32>>> {
        let word = std::str::from_utf8(word).ok()?;
        self.vectors.get_mut(word).filter(|vector| vector.is_none())
    }

    /// The vectors found, and how many are those of lower-cased words.
    fn into_vectors(mut self, wanted: &[impl AsRef<str>]) -> (Vec<(String, Vec<f32>)>, u64) {
        let mut seen = HashSet::new();
        let words = wanted.iter().map(AsRef::as_ref);
        let words: Vec<&str> = words.filter(|word| seen.insert(*word)).collect();
        // Copies of lower-cased words' vectors first: then each vector can be moved out.
        let lower = |word: &&str| match self.vectors.get(*word) {
            Some(Some(_)) => None,
            _ => self.vectors.get(&word.to_lowercase())?.clone(),
        };
        let lower: Vec<Option<Vec<f32>>> = words.iter().map(lower).collect();
        let lower_cased = lower.iter().flatten().count() as u64;
        let found = words.into_iter().zip(lower).filter_map(|(word, lower)| {
            let vector = lower.or_else(|| self.vectors.remove(word)?)?;
            Some((word.to_owned(), vector))
        });
        (found.collect(), lower_cased)
    }
}

/// A word and its numbers.
struct Row<'a> {
    word: &'a [u8],
    /// Where each number stands in the line.
    line: &'a [u8],
    numbers: usize,
    number: u64,
    dimension: usize,
}

impl<'a> Row<'a> {
    /// Takes the last numbers, `dimension` of them, off a line.
    fn new(line: &'a [u8], number: u64, dimension: usize) -> Result<Self, Problem> {
        let line = trim_end(line);
        let mut begin = line.len();
        for taken in 0..dimension {
            let end = trim_end(&line[..begin]).len();
            begin = field_begin(&line[..end]);
            if begin == 0 {
                // The field at the start is the word.
                return Err(Problem::at(number, column(line, end))
                    .found(counted(taken, "number"))
                    .expected(expected(dimension))
                    .only_hint("all vectors of a file have one dimension"));
            }
            if !matches!(line[begin], b'+' | b'-' | b'.' | b'0'..=b'9') {
                return Err(no_number(line, begin..end, number, dimension));
            }
        }
        let word = trim_end(&line[..begin]);
        let row = Self {
            word,
            line,
            numbers: begin,
            number,
            dimension,
        };
        row.check_word()?;
        Ok(row)
    }

    /// Words with spaces are few, and what follows their first space is not all numbers.
    fn check_word(&self) -> Result<(), Problem> {
        let mut fields = self.word.split(|byte| SEPARATORS.contains(byte)).skip(1);
        let Some(first) = fields.next() else {
            return Ok(());
        };
        let more = 1 + fields.clone().filter(|field| !field.is_empty()).count();
        if !is_number(first) || !fields.all(|field| field.is_empty() || is_number(field)) {
            return Ok(());
        }
        Err(Problem::at(self.number, column(self.line, self.line.len()))
            .found(counted(self.dimension + more, "number"))
            .expected(expected(self.dimension))
            .only_hint("all vectors of a file have one dimension"))
    }

    fn vector(&self) -> Result<Vec<f32>, Problem> {
        let mut vector = Vec::with_capacity(self.dimension);
        let mut begin = self.numbers;
        for field in self.line[self.numbers..].split(|byte| SEPARATORS.contains(byte)) {
            let end = begin + field.len();
            if !field.is_empty() {
                let text = std::str::from_utf8(field).unwrap_or_default();
                match text.parse::<f32>() {
                    Ok(value) if value.is_finite() => vector.push(value),
                    _ => {
                        return Err(no_number(
                            self.line,
                            begin..end,
                            self.number,
                            self.dimension,
                        ));
                    }
                }
            }
            begin = end + 1;
        }
        Ok(vector)
    }
}

fn expected(dimension: usize) -> String {
    format!("a word and {}", counted(dimension, "number"))
}

fn no_number(line: &[u8], place: std::ops::Range<usize>, number: u64, dimension: usize) -> Problem {
    let found = shown(&String::from_utf8_lossy(&line[place.clone()]));
    Problem::at(number, column(line, place.start))
        .found(found)
        .expected(format!("a finite number, one of {dimension} after a word"))
        .only_hint("a line is a word and its numbers, between spaces; all of one dimension")
}

/// `count dimension`, where the first line is that.
fn header_of(line: &[u8]) -> Result<Option<Header>, Problem> {
    let line = String::from_utf8_lossy(line);
    let fields: Vec<_> = line.split_ascii_whitespace().take(3).collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let [count, dimension] = fields[..] else {
        return Ok(None);
    };
    if !digits(count) || !digits(dimension) {
        return Ok(None);
    }
    let parsed: (Result<u64, _>, Result<usize, _>) = (count.parse(), dimension.parse());
    match parsed {
        (Ok(count), Ok(dimension)) if (1..=MAX_DIMENSION).contains(&dimension) => {
            Ok(Some(Header { count, dimension }))
        }
        _ => Err(Problem::at(1, 1)
            .found(format!(
                "{} vectors of {} numbers",
                shown(count),
                shown(dimension)
            ))
            .expected(format!("a dimension from 1 to {MAX_DIMENSION}"))
            .only_hint(
                "the first line is the count of vectors and their dimension, or the first vector",
            )),
    }
}

/// The dimension that the first vector has: as many numbers as the line ends in, but its first field.
fn dimension_of(line: &[u8], number: u64) -> Result<usize, Problem> {
    let mut rest = trim_end(line);
    let mut dimension = 0;
    loop {
        let begin = field_begin(rest);
        if begin == 0 || !is_number(&rest[begin..]) {
            break;
        }
        dimension += 1;
        rest = trim_end(&rest[..begin]);
    }
    if (1..=MAX_DIMENSION).contains(&dimension) {
        return Ok(dimension);
    }
    let text = shown(&String::from_utf8_lossy(line));
    let found = match dimension {
        0 => format!("{text}, which ends in no number"),
        _ => format!("{dimension} numbers"),
    };
    Err(Problem::at(number, 1)
        .found(found)
        .expected(format!("a word and 1 to {MAX_DIMENSION} numbers"))
        .only_hint("`--embeddings` reads the text form of GloVe and fastText"))
}

fn is_number(field: &[u8]) -> bool {
    let text = std::str::from_utf8(field).unwrap_or_default();
    text.parse::<f32>().is_ok_and(f32::is_finite)
}

fn trim_end(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !SEPARATORS.contains(byte));
    &line[..kept.map_or(0, |last| last + 1)]
}

/// Where the last field of a line begins that ends in no separator.
fn field_begin(line: &[u8]) -> usize {
    let before = line.iter().rposition(|byte| SEPARATORS.contains(byte));
    before.map_or(0, |at| at + 1)
}

/// The column of a byte, in characters from 1.
fn column(line: &[u8], at: usize) -> u64 {
    let text = String::from_utf8_lossy(&line[..at]);
    1 + text.chars().count() as u64
}

#[cfg(test)]
mod tests;
