//! Sentences of tokens, each with its label: CoNLL's columns and CoNLL-U.

mod reader;

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::rows::{self, OnBadRow, RowNotes};
use super::table::TableColumns;
use crate::Result;
use crate::names::named;

pub use super::text::DEFAULT_MAX_BYTES;
pub use reader::SentenceReader;

/// The most tokens of a sentence; a file without empty lines between sentences has more.
pub const MAX_TOKENS: usize = 1 << 16;
/// What a sentence takes in memory beside its tokens.
const SENTENCE_BYTES: usize = size_of::<TaggedSentence>() + 32;
/// What a token or a label takes beside its text.
const TOKEN_BYTES: usize = size_of::<String>() + 16;

/// How tokens and labels stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SentenceFormat {
    /// A token a line: columns between tabs or spaces, first the token, then labels; an empty line after each sentence.
    Conll,
    /// The ten columns of Universal Dependencies. Comments, ranges of tokens (`1-2`) and empty nodes (`1.1`) are passed over.
    Conllu,
    /// A sentence a line: tokens between spaces, without labels.
    Lines,
}

named!(SentenceFormat, "format", { Conll => "conll", Conllu => "conllu", Lines => "lines" });

impl SentenceFormat {
    /// What the ending of a name says, before `.gz` or `.zst`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    /// use refrain::data::conll::SentenceFormat;
    ///
    /// assert_eq!(SentenceFormat::from_ending(Path::new("en.conllu.gz")), Some(SentenceFormat::Conllu));
    /// assert_eq!(SentenceFormat::from_ending(Path::new("train.tsv")), Some(SentenceFormat::Conll));
    /// ```
    #[must_use]
    pub fn from_ending(path: &Path) -> Option<Self> {
        match super::rows::ending(path)?.as_str() {
            "conllu" => Some(Self::Conllu),
            "conll" | "tsv" | "txt" | "bio" | "iob" | "iob2" => Some(Self::Conll),
            _ => None,
        }
    }
}

/// How sentences are read.
#[derive(Clone, Debug)]
pub struct SentenceOptions {
    /// The format; `None`: as the ending says.
    pub format: Option<SentenceFormat>,
    /// The columns of token and label: numbers from 1, or CoNLL-U's names (`form`, `upos`, `xpos`, …). By default the first
    /// and the second, of CoNLL-U `form` and `upos`.
    pub columns: TableColumns,
    /// Whether labels are read; where not, there need be none.
    pub labelled: bool,
    /// What happens to a sentence with a line that cannot be used.
    pub on_bad_row: OnBadRow,
    /// The most memory that what is read may take: the bytes of all files, unpacked, and what sentences take beside them.
    pub max_bytes: u64,
}

impl Default for SentenceOptions {
    /// Labelled, errors for bad lines, [`DEFAULT_MAX_BYTES`].
    fn default() -> Self {
        Self {
            format: None,
            columns: TableColumns::default(),
            labelled: true,
            on_bad_row: OnBadRow::Error,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }
}

impl SentenceOptions {
    /// For sentences without labels.
    #[must_use]
    pub fn unlabelled() -> Self {
        Self {
            labelled: false,
            ..Self::default()
        }
    }
}

/// A sentence: tokens, each with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedSentence {
    /// The tokens, at least one.
    pub tokens: Vec<String>,
    /// A label for each token; none where they were not asked for.
    pub labels: Vec<String>,
    /// The line of the first token, from 1.
    pub line: u64,
}

/// All sentences of one or more files.
#[derive(Clone, Debug)]
pub struct TaggedSentences {
    /// The sentences, at least one.
    pub sentences: Vec<TaggedSentence>,
    /// How many sentences were left out.
    pub skipped: u64,
    /// What was changed and guessed.
    pub notes: RowNotes,
    /// The SHA-256 of the bytes of all files, unpacked, in hexadecimal digits.
    pub sha256: String,
}

/// Reads files of sentences one after the other; `-` is `stdin`.
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) where a file cannot be read; [`Error::Data`](crate::Error::Data) with line and column for
/// a bad line; [`Error::Setting`](crate::Error::Setting) for a column that cannot be;
/// [`Error::Unusable`](crate::Error::Unusable) where the name does not tell the format, where there is no sentence, or where
/// the sentences take more than [`SentenceOptions::max_bytes`].
pub fn read_conll<'a>(
    paths: &[impl AsRef<Path>],
    options: &SentenceOptions,
    stdin: Option<Box<dyn Read + 'a>>,
) -> Result<TaggedSentences> {
    let read = rows::collect(paths, options.max_bytes, stdin, |lines, path| {
        SentenceReader::from_lines(lines, path, options)
    })?;
    Ok(TaggedSentences {
        sentences: read.rows,
        skipped: read.skipped,
        notes: read.notes,
        sha256: read.sha256,
    })
}

#[cfg(test)]
mod tests;
