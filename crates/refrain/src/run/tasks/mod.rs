//! What each task adds to a run: reading its data, sizing it, its model file.

mod forecast;
mod labels;
mod language_model;
mod pairs;

use std::io::Read as _;

use refrain_kernels::Compute;
use serde_json::{Map, Value};

use super::Given;
use super::graph::Graph;
use super::settings::{Resolved, Task as TaskName};
use crate::checkpoint::ModelFile;
use crate::data::{Embeddings, Vocabulary, read_embeddings};
use crate::error::{Error, Result};
use crate::metrics::{ClassReport, ForecastReport};
use crate::models::InputShape;
use crate::train::{Score, Task};

/// Memory of the process before it trains.
const PROCESS_BYTES: f64 = 16e6;

/// A task as a run keeps it.
pub(crate) trait RunTask: Task + std::fmt::Debug {
    /// The model as a file.
    fn model_file(&self, config: &Resolved, trained: Map<String, Value>) -> ModelFile;

    /// The model unrolled over time.
    fn graph(&self) -> Graph;

    /// Whether there is a test part.
    fn has_test(&self) -> bool;

    /// The score of the test part.
    fn test(&mut self, compute: &Compute) -> Option<Score>;

    /// What was confused with what in the test part, or else in the validation part, where the task has classes.
    fn class_report(&mut self, _compute: &Compute) -> Option<ClassReport> {
        None
    }

    /// How far off the answers to the test part are, or else to the validation part, where the task predicts numbers.
    fn forecast_report(&mut self, _compute: &Compute) -> Option<ForecastReport> {
        None
    }
}

/// How the weights of a task begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Drawn by the seed.
    Drawn,
    /// Zeros, to be read from a file.
    Zero,
}

/// Writes into the settings whether the pictures of the training part are varied.
///
/// # Errors
/// [`Error::Setting`] where that is asked for, and the data is no pictures.
fn settle_augment(config: &mut Resolved, shape: &InputShape, default: bool) -> Result<()> {
    if let InputShape::Frames { .. } = shape {
        config.augment.get_or_insert(default);
        return Ok(());
    }
    match config.augment.take() {
        Some(true) => Err(Error::Setting {
            name: "augment".into(),
            found: "true".into(),
            expected: "nothing: the data is neither video nor pictures that are seen as a whole"
                .into(),
            hint: "leave it out".into(),
        }),
        Some(false) | None => Ok(()),
    }
}

/// Makes a task's model, once nothing can go wrong any more.
type Build = Box<dyn FnOnce(&Resolved, Weights) -> Box<dyn RunTask>>;

/// A run before its folder is made: the data is read, and all of it will fit into memory.
pub(crate) struct Prepared {
    /// Gradient steps in a pass over the training part.
    pub(crate) steps_per_epoch: u64,
    /// A hash of all the data.
    pub(crate) sha256: String,
    /// What a user should know.
    pub(crate) notes: Vec<String>,
    /// An estimate of the memory that training takes.
    pub(crate) memory_bytes: u64,
    /// What was read from standard input, to be kept.
    pub(crate) stdin: Option<Vec<u8>>,
    /// The rest.
    pub(crate) build: Build,
}

/// Reads the data of whichever task; settings that follow from the data are filled in.
///
/// What is only needed to draw weights is read where `weights` says that they are drawn.
pub(crate) fn prepare(
    config: &mut Resolved,
    given: &mut Given<'_>,
    weights: Weights,
) -> Result<Prepared> {
    match config.task {
        TaskName::Lm => language_model::prepare(config, given, weights),
        TaskName::Classify | TaskName::Tag => labels::prepare(config, given, weights),
        TaskName::Translate | TaskName::Caption => pairs::prepare(config, given, weights),
        TaskName::Forecast => forecast::prepare(config, given, weights),
    }
}

/// The vectors to begin with, where a file is named; their size is the embedding's.
fn word_vectors(config: &mut Resolved, words: Option<&Vocabulary>) -> Result<Option<Embeddings>> {
    let Some(path) = &config.embeddings else {
        return Ok(None);
    };
    let Some((words, unknown)) = words.and_then(|words| Some((words, words.unknown_id()?))) else {
        return Err(Error::Setting {
            name: "embeddings".into(),
            found: format!("`{}`", path.display()),
            expected: "nothing: the tokens of this data are no words".into(),
            hint: "leave it out, or give `--tokens word`".into(),
        });
    };
    let wanted: Vec<_> = (0..words.len() as u32)
        .filter(|&id| id != unknown)
        .map(|id| String::from_utf8_lossy(words.token_bytes(id)).into_owned())
        .collect();
    let vectors = read_embeddings(path, &wanted)?;
    if config.model.tie_weights && vectors.dimension != config.model.hidden_size {
        return Err(Error::Setting {
            name: "embeddings".into(),
            found: format!("a file of vectors of {} numbers", vectors.dimension),
            expected: format!(
                "{}, the hidden size, since the weights are tied",
                config.model.hidden_size
            ),
            hint: "give that `--hidden-size`, or leave `--tie-weights` out".into(),
        });
    }
    config.model.embedding_size = vectors.dimension;
    Ok(Some(vectors))
}

/// What a user should know of vectors that were read.
fn said_of(vectors: &Embeddings, vocabulary_size: usize) -> String {
    format!(
        "{} of {vocabulary_size} words begin with a vector of the file, {} of them with that of their small letters",
        vectors.vectors.len(),
        vectors.lower_cased
    )
}

/// The bytes of an estimate, refused where the machine has not so many.
fn checked_memory(estimate: f64, given: &Given<'_>, hint: &str) -> Result<u64> {
    let needed_bytes = estimate.min(u64::MAX as f64) as u64;
    match given.available_bytes {
        Some(available_bytes) if needed_bytes > available_bytes => Err(Error::Memory {
            needed_bytes,
            available_bytes,
            hint: hint.into(),
        }),
        _ => Ok(needed_bytes),
    }
}

/// All of standard input, where the data is there.
fn read_stdin(config: &Resolved, given: &mut Given<'_>, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    let wanted = config.data.iter().any(|path| path.as_os_str() == "-");
    let Some(stdin) = given.stdin.take().filter(|_| wanted) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    stdin
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io {
            action: "read",
            path: "-".into(),
            source,
        })?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::Unusable {
            problem: format!("standard input has more than {max_bytes} bytes"),
            hint: "write it to a file, or give a part of it".into(),
        });
    }
    Ok(Some(bytes))
}
