//! Labelled data of any kind as it stands in its files, and its parts: training, validation, test.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arrays::Arrays;
use super::conll::{SentenceFormat, SentenceOptions, TaggedSentence, read_conll};
use super::parts::{self, Divide, ReadData};
use super::pictures::{self, IdxPair};
use super::table::{LabelledText, TableColumns, TableOptions, read_table};
use super::{Format, OnBadRow};
use crate::error::{Error, Result};

pub use super::parts::PartSources;

/// Labelled (or unlabelled) sequences as they were read.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Texts, each with a label.
    Texts(Vec<LabelledText>),
    /// Sentences of tokens, each token with a label.
    Sentences(Vec<TaggedSentence>),
    /// Some examples of arrays.
    Arrays(Arc<Arrays>, Vec<usize>),
}

impl Raw {
    /// Examples.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Sentences(sentences) => sentences.len(),
            Self::Arrays(_, chosen) => chosen.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Texts(_) => "texts",
            Self::Sentences(_) => "sentences of tokens",
            Self::Arrays(..) => "arrays",
        }
    }

    /// Keeps the first examples only.
    pub fn truncate(&mut self, most: usize) {
        match self {
            Self::Texts(texts) => texts.truncate(most),
            Self::Sentences(sentences) => sentences.truncate(most),
            Self::Arrays(_, chosen) => chosen.truncate(most),
        }
    }
}

impl Divide for Raw {
    fn count(&self) -> usize {
        self.len()
    }

    fn divide(self, held_out: &[bool]) -> (Self, Self) {
        match self {
            Self::Texts(texts) => {
                let (kept, out) = texts.divide(held_out);
                (Self::Texts(kept), Self::Texts(out))
            }
            Self::Sentences(sentences) => {
                let (kept, out) = sentences.divide(held_out);
                (Self::Sentences(kept), Self::Sentences(out))
            }
            Self::Arrays(arrays, chosen) => {
                let (kept, out) = chosen.divide(held_out);
                (
                    Self::Arrays(Arc::clone(&arrays), kept),
                    Self::Arrays(arrays, out),
                )
            }
        }
    }
}

/// How labelled data is read.
#[derive(Clone, Debug)]
pub struct RawOptions {
    /// Whether each step has a label (tagging), or each sequence (classification).
    pub per_step: bool,
    /// Whether labels must be there.
    pub labelled: bool,
    /// How it is written; `None` is as its ending says.
    pub format: Option<Format>,
    /// The columns.
    pub columns: TableColumns,
    /// What happens to a bad row.
    pub on_bad_row: OnBadRow,
    /// The most memory that the data may take.
    pub max_bytes: u64,
}

/// What was read of some files.
pub type ReadFiles = ReadData<Raw>;

fn stdin_name(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads files of one kind.
///
/// # Errors
/// As the reader of the kind: [`super::table`], [`super::conll`], [`super::arrays`], [`super::pictures`].
pub fn read_raw(
    paths: &[PathBuf],
    options: &RawOptions,
    stdin: Option<&[u8]>,
) -> Result<ReadFiles> {
    match arrays_of(paths, options, stdin)? {
        Some(arrays) => {
            let chosen = (0..arrays.count).collect();
            Ok(ReadFiles {
                sha256: arrays.sha256.clone(),
                skipped: 0,
                notes: arrays.notes.clone(),
                raw: Raw::Arrays(Arc::new(arrays), chosen),
            })
        }
        None if options.per_step => sentences(paths, options, stdin),
        None => texts(paths, options, stdin),
    }
}

/// Standard input that was read before, to be read.
pub(super) fn reader(stdin: Option<&[u8]>) -> Option<Box<dyn Read + '_>> {
    stdin.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>)
}

fn texts(paths: &[PathBuf], options: &RawOptions, stdin: Option<&[u8]>) -> Result<ReadFiles> {
    let format = match options.format {
        None => None,
        Some(format) => Some(format.table().ok_or_else(|| misfit(format, "classify"))?),
    };
    let table = TableOptions {
        format,
        columns: options.columns.clone(),
        labelled: options.labelled,
        on_bad_row: options.on_bad_row,
        max_bytes: options.max_bytes,
        ..TableOptions::default()
    };
    let read = read_table(paths, &table, reader(stdin))?;
    Ok(ReadFiles {
        raw: Raw::Texts(read.rows),
        sha256: read.sha256,
        skipped: read.skipped,
        notes: read.notes.sentences(read.skipped, "row"),
    })
}

fn sentences(paths: &[PathBuf], options: &RawOptions, stdin: Option<&[u8]>) -> Result<ReadFiles> {
    let format = match options.format {
        None => None,
        Some(Format::Conll | Format::Tsv) => Some(SentenceFormat::Conll),
        Some(Format::Conllu) => Some(SentenceFormat::Conllu),
        Some(Format::Lines) => Some(SentenceFormat::Lines),
        Some(format) => return Err(misfit(format, "tag")),
    };
    let columns = SentenceOptions {
        format,
        columns: options.columns.clone(),
        labelled: options.labelled,
        on_bad_row: options.on_bad_row,
        max_bytes: options.max_bytes,
    };
    let read = read_conll(paths, &columns, reader(stdin))?;
    Ok(ReadFiles {
        raw: Raw::Sentences(read.sentences),
        sha256: read.sha256,
        skipped: read.skipped,
        notes: read.notes.sentences(read.skipped, "sentence"),
    })
}

fn misfit(format: Format, task: &str) -> Error {
    Error::Setting {
        name: "format".into(),
        found: format!("`{format}`"),
        expected: format!("a format that the task {task} reads"),
        hint: "classify reads tsv, csv, jsonl, fasttext, label-first, npz, idx and pictures; tag reads conll, conllu and npz".into(),
    }
}

/// The arrays that the paths stand for, if they do for such.
fn arrays_of(
    paths: &[PathBuf],
    options: &RawOptions,
    stdin: Option<&[u8]>,
) -> Result<Option<Arrays>> {
    let [path, others @ ..] = paths else {
        return Ok(None);
    };
    let format = options.format;
    let is_npz = format == Some(Format::Npz)
        || format.is_none() && super::rows::ending(path).as_deref() == Some("npz");
    let skip = options.on_bad_row == OnBadRow::Skip;
    if is_npz {
        alone(path, others)?;
        return match stdin.filter(|_| stdin_name(path)) {
            Some(bytes) => Arrays::read(Cursor::new(bytes), "-", options.max_bytes).map(Some),
            None => Arrays::open(path, options.max_bytes).map(Some),
        };
    }
    if options.per_step {
        return match format {
            Some(format @ (Format::Idx | Format::Pictures)) => Err(misfit(format, "tag")),
            _ => Ok(None),
        };
    }
    match format {
        Some(Format::Idx) => idx_of(path, others, options.max_bytes).map(Some),
        Some(Format::Pictures) => {
            alone(path, others)?;
            pictures::open_folder(path, skip, options.max_bytes).map(Some)
        }
        None if path.is_dir() && !IdxPair::in_folder(path)?.is_empty() => {
            idx_of(path, others, options.max_bytes).map(Some)
        }
        None if path.is_dir() => {
            alone(path, others)?;
            pictures::open_folder(path, skip, options.max_bytes).map(Some)
        }
        None if IdxPair::is_named_so(path) => idx_of(path, others, options.max_bytes).map(Some),
        _ => Ok(None),
    }
}

/// Refuses more than one file of arrays.
fn alone(path: &Path, others: &[PathBuf]) -> Result<()> {
    match others.first() {
        None => Ok(()),
        Some(other) => Err(Error::Unusable {
            problem: format!(
                "`{}` and `{}`: arrays and folders of pictures are read one at a time",
                path.display(),
                other.display()
            ),
            hint: "join them into one, or give the second as `--validation` or `--test`".into(),
        }),
    }
}

fn idx_of(path: &Path, others: &[PathBuf], max_bytes: u64) -> Result<Arrays> {
    if path.is_dir() {
        alone(path, others)?;
        let pairs = IdxPair::in_folder(path)?;
        let train: Vec<_> = pairs.iter().filter(|pair| !pair.is_test()).collect();
        let [pair] = train[..] else {
            return Err(Error::Unusable {
                problem: format!(
                    "`{}` holds {} pairs of IDX files to learn from, expected one",
                    path.display(),
                    train.len()
                ),
                hint: "name the file of pictures instead of the folder".into(),
            });
        };
        return pair.read(max_bytes);
    }
    let pair = IdxPair::of_file(path)?;
    // The other half may be named too.
    for other in others {
        if *other != pair.images && *other != pair.labels {
            alone(path, others)?;
        }
    }
    pair.read(max_bytes)
}

/// Labelled data in parts.
pub type Parts = parts::Parts<Raw>;

/// Reads data and its parts. Fractions are held back from the data at random (by the seed), since files of labelled data are
/// often sorted.
///
/// # Errors
/// As [`read_raw`]; [`Error::Unusable`] where nothing would be left to learn from.
pub fn read_parts(
    sources: PartSources<'_>,
    options: &RawOptions,
    demo: impl FnOnce() -> Raw,
    stdin: Option<&[u8]>,
) -> Result<Parts> {
    let read = if sources.paths.is_empty() {
        ReadData::built_in(demo())
    } else {
        read_raw(sources.paths, options, stdin)?
    };
    parts::in_parts(sources, read, |path| {
        read_raw(&[path.to_owned()], options, None)
    })
}
