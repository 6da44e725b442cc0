//! Labelled data of any kind as it stands in its files, and its parts: training, validation, test.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;
use sha2::{Digest as _, Sha256};

use super::arrays::Arrays;
use super::conll::{SentenceFormat, SentenceOptions, TaggedSentence, read_conll};
use super::pictures::{self, IdxPair};
use super::rows::RowNotes;
use super::source::hex;
use super::table::{LabelledText, TableColumns, TableOptions, read_table};
use super::{Format, OnBadRow, Portion};
use crate::error::{Error, Result};

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

    /// Moves the examples at `held_out` to a part of their own.
    fn split_off(self, held_out: &[bool]) -> (Self, Self) {
        fn halves<T>(all: Vec<T>, held_out: &[bool]) -> (Vec<T>, Vec<T>) {
            let (mut kept, mut out) = (Vec::new(), Vec::new());
            for (item, &is_out) in all.into_iter().zip(held_out) {
                if is_out {
                    out.push(item)
                } else {
                    kept.push(item)
                }
            }
            (kept, out)
        }
        match self {
            Self::Texts(texts) => {
                let (kept, out) = halves(texts, held_out);
                (Self::Texts(kept), Self::Texts(out))
            }
            Self::Sentences(sentences) => {
                let (kept, out) = halves(sentences, held_out);
                (Self::Sentences(kept), Self::Sentences(out))
            }
            Self::Arrays(arrays, chosen) => {
                let (kept, out) = halves(chosen, held_out);
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
#[derive(Clone, Debug)]
pub struct ReadFiles {
    /// The examples.
    pub raw: Raw,
    /// A hash of the content.
    pub sha256: String,
    /// Rows that were left out.
    pub skipped: u64,
    /// What a user should know.
    pub notes: Vec<String>,
}

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

fn reader(stdin: Option<&[u8]>) -> Option<Box<dyn Read + '_>> {
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
        notes: row_notes(&read.notes, read.skipped, "row"),
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
        notes: row_notes(&read.notes, read.skipped, "sentence"),
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

/// The notes of a reader of rows, a sentence each.
fn row_notes(notes: &RowNotes, skipped: u64, what: &str) -> Vec<String> {
    let mut all = notes.guesses.clone();
    if notes.text.bom {
        all.push("a byte order mark at the start was left out".into());
    }
    if notes.text.crlf > 0 {
        all.push(format!(
            "{} line ends of the form CRLF were read as LF",
            notes.text.crlf
        ));
    }
    if skipped > 0 {
        let s = if skipped == 1 { "" } else { "s" };
        let first = notes.first_skipped.as_deref().unwrap_or_default();
        all.push(format!(
            "{skipped} bad {what}{s} left out; the first: {first}"
        ));
    }
    all
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
#[derive(Clone, Debug)]
pub struct Parts {
    /// What is learnt from.
    pub train: Raw,
    /// What is scored while learning, if anything, and the name of its file.
    pub validation: Option<(Raw, String)>,
    /// What is scored at the end, if anything, and the name of its file.
    pub test: Option<(Raw, String)>,
    /// A hash of all.
    pub sha256: String,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Where the parts of labelled data come from.
#[derive(Clone, Copy, Debug)]
pub struct PartSources<'a> {
    /// The data; none is the task's own.
    pub paths: &'a [PathBuf],
    /// What to hold back for validation.
    pub validation: &'a Portion,
    /// What to hold back for the test.
    pub test: &'a Portion,
    /// The seed by which examples are held back.
    pub seed: u64,
}

/// The name of some files for messages.
fn name_of(paths: &[PathBuf]) -> String {
    match paths {
        [] => "the built-in data".into(),
        [path] => path.display().to_string(),
        [path, ..] => format!("{}, …", path.display()),
    }
}

/// A part that is held back: examples of the data itself, or a file of its own.
enum Held {
    Own(Vec<usize>),
    File(ReadFiles, String),
}

/// Draws which examples are held back.
struct Draw {
    count: usize,
    /// Those that are not held back yet, shuffled.
    left: Vec<usize>,
}

impl Draw {
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        // A stream that no shuffle of an epoch reaches.
        rng.set_stream(u64::MAX);
        let mut left: Vec<usize> = (0..count).collect();
        left.shuffle(&mut rng);
        Self { count, left }
    }

    fn part(&mut self, portion: &Portion, options: &RawOptions) -> Result<Held> {
        Ok(match portion {
            Portion::None => Held::Own(Vec::new()),
            Portion::Fraction(fraction) => {
                let size = (self.count as f64 * fraction).round() as usize;
                Held::Own(self.left.split_off(self.left.len().saturating_sub(size)))
            }
            Portion::File(path) => Held::File(
                read_raw(std::slice::from_ref(path), options, None)?,
                path.display().to_string(),
            ),
        })
    }
}

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
    let name = name_of(sources.paths);
    let read = if sources.paths.is_empty() {
        ReadFiles {
            raw: demo(),
            sha256: String::new(),
            skipped: 0,
            notes: Vec::new(),
        }
    } else {
        read_raw(sources.paths, options, stdin)?
    };
    let (mut hashes, mut notes) = (vec![read.sha256], read.notes);
    let count = read.raw.len();
    let mut draw = Draw::new(count, sources.seed);
    let test = draw.part(sources.test, options)?;
    let validation = draw.part(sources.validation, options)?;
    let mut place = vec![0_u8; count];
    for (part, held) in [(1, &validation), (2, &test)] {
        if let Held::Own(held) = held {
            held.iter().for_each(|&at| place[at] = part);
        }
    }
    let (train, held) = read
        .raw
        .split_off(&place.iter().map(|&part| part > 0).collect::<Vec<_>>());
    let held_places = place.iter().filter(|&&part| part > 0);
    let (own_validation, own_test) =
        held.split_off(&held_places.map(|&part| part == 2).collect::<Vec<_>>());
    if train.is_empty() {
        return Err(Error::Unusable {
            problem: format!("`{name}` has {count} examples, and none is left to learn from"),
            hint: "give more data, or a smaller `--validation` or `--test`".into(),
        });
    }
    let mut settle = |held: Held, own: Raw, portion: &Portion, what: &str| match held {
        Held::File(read, name) => {
            hashes.push(read.sha256);
            notes.extend(read.notes);
            Some((read.raw, name))
        }
        Held::Own(_) if own.is_empty() => {
            if matches!(portion, Portion::Fraction(_)) {
                notes.push(format!("there is too little data for a {what} part"));
            }
            None
        }
        Held::Own(_) => Some((own, name.clone())),
    };
    let test = settle(test, own_test, sources.test, "test");
    let validation = settle(validation, own_validation, sources.validation, "validation");
    Ok(Parts {
        train,
        validation,
        test,
        sha256: joined(&hashes),
        notes,
    })
}

/// One hash of several: the only one as it is.
fn joined(hashes: &[String]) -> String {
    match hashes {
        [only] => only.clone(),
        _ => hex(&Sha256::digest(hashes.join("\n"))),
    }
}
