//! Model files of labellers: what a sequence is made of, its classes and the weights in one file, and back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::model::{check_size, model_path, settings_of, take, unfit};
use super::settings::{Resolved, Task};
use crate::checkpoint::{ModelFile, Tensor, Vocabularies};
use crate::data::encoding::{Input, NumberInput, StoredInput};
use crate::data::{Encoding, Standardisation, TokenKind, Vocabulary};
use crate::error::Result;
use crate::models::{Labeller, Output};
use crate::nn::{Parameter, Parameters as _};

/// The most numbers that a step of a model file may have: no picture of a step is larger.
const MAX_STEP: usize = 1 << 24;

/// A labeller read from a file.
#[derive(Clone, Debug)]
pub struct LoadedLabeller {
    /// The file.
    pub path: PathBuf,
    /// The model.
    pub model: Labeller<f32>,
    /// What it reads and the classes that it tells apart.
    pub encoding: Encoding,
    /// How it was configured.
    pub config: Resolved,
    /// How it was trained: `steps`, `tokens`, losses.
    pub trained: Map<String, Value>,
}

/// What a labeller's task asks of its encoder.
#[must_use]
pub fn output_of(task: Task) -> Output {
    match task {
        Task::Classify => Output::Sequence,
        Task::Lm | Task::Tag | Task::Translate | Task::Forecast => Output::Steps,
        Task::Caption => Output::Features,
    }
}

/// The numbers that a labeller trains, in floating point so that no size overflows.
#[must_use]
pub fn parameter_estimate(config: &Resolved, encoding: &Encoding) -> f64 {
    config.model.labeller_estimate(
        &encoding.shape(),
        output_of(config.task),
        encoding.labels.len(),
    )
}

/// The file of a labeller.
#[must_use]
pub fn labeller_file(
    model: &Labeller<f32>,
    encoding: &Encoding,
    config: &Resolved,
    trained: Map<String, Value>,
) -> ModelFile {
    let (vocabularies, characters, standardisation) = match &encoding.input {
        Input::Texts(vocabulary) => (Vocabularies::One(vocabulary.clone()), None, None),
        Input::Words(words, alphabet) => (Vocabularies::One(words.clone()), alphabet.clone(), None),
        Input::Numbers(numbers) => (
            Vocabularies::None,
            None,
            serde_json::to_value(&*numbers.standardisation).ok(),
        ),
    };
    let mut file = ModelFile {
        config: config.model_config_json().into_iter().collect(),
        vocabularies,
        characters,
        input: Some(encoding.to_json()),
        labels: encoding.labels.clone(),
        standardisation,
        trained,
        ..ModelFile::default()
    };
    let mut insert = |parameter: &Parameter<f32>| {
        let tensor = Tensor::f32(&parameter.shape, parameter.value.clone());
        file.tensors.insert(parameter.name.clone(), tensor);
    };
    model.visit(&mut |parameter| insert(parameter));
    model.visit_buffers(&mut |buffer| insert(buffer));
    file
}

impl LoadedLabeller {
    /// Reads a model file, or the best model of a run folder.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Run`](crate::Error::Run), or [`Error::Model`](crate::Error::Model) naming what does not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_path(path)?;
        let file = ModelFile::load(&path)?;
        Self::from_file(&path, file)
    }

    /// From a file that was read.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) naming what does not fit.
    pub fn from_file(path: &Path, mut file: ModelFile) -> Result<Self> {
        let config = settings_of(path, &file)?;
        let encoding = encoding_of(path, &mut file, &config)?;
        let parameters = parameter_estimate(&config, &encoding);
        check_size(path, &file, parameters)?;
        let mut model = Labeller::zeros(
            &config.model,
            &encoding.shape(),
            output_of(config.task),
            encoding.labels.len(),
        );
        let mut result = Ok(());
        let mut take = |parameter: &mut Parameter<f32>| take(&mut file, parameter, &mut result);
        model.visit_mut(&mut |parameter| take(parameter));
        model.visit_buffers_mut(&mut |buffer| take(buffer));
        result?;
        file.tensors.finish()?;
        Ok(Self {
            path: path.to_owned(),
            model,
            encoding,
            config,
            trained: file.trained,
        })
    }
}

/// What the file says of the model's input; nothing of it is trusted.
fn encoding_of(path: &Path, file: &mut ModelFile, config: &Resolved) -> Result<Encoding> {
    let wrong = |problem: &str| unfit(path, problem);
    let input = file
        .input
        .take()
        .ok_or_else(|| wrong("its metadata has no `input`"))?;
    let vocabulary = match std::mem::take(&mut file.vocabularies) {
        Vocabularies::One(vocabulary) => Some(vocabulary),
        Vocabularies::None => None,
        Vocabularies::Two { .. } => return Err(wrong("it has two vocabularies, expected one")),
    };
    let per_step = config.task == Task::Tag;
    let input = input_of(path, input, vocabulary, file, per_step)?;
    if file.labels.len() < 2 {
        return Err(wrong("its `labels` are fewer than two"));
    }
    let distinct: HashSet<_> = file.labels.iter().collect();
    if distinct.len() < file.labels.len() {
        return Err(wrong("of its `labels` two are the same"));
    }
    Ok(Encoding {
        per_step,
        input,
        labels: std::mem::take(&mut file.labels),
        max_length: config.max_length,
    })
}

/// What a stored input means: texts, words or numbers, with the vocabulary, the alphabet and the scales of the file.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) naming what does not fit.
pub(super) fn input_of(
    path: &Path,
    stored: Value,
    vocabulary: Option<Vocabulary>,
    file: &mut ModelFile,
    per_step: bool,
) -> Result<Input> {
    let wrong = |problem: &str| unfit(path, problem);
    let input: StoredInput = serde_json::from_value(stored)
        .map_err(|error| wrong(&format!("its `input` cannot be read: {error}")))?;
    Ok(match (input, vocabulary) {
        (StoredInput::Texts {}, _) if per_step => {
            return Err(wrong("its `input` is texts, whose steps have no labels"));
        }
        (StoredInput::Words {}, _) if !per_step => {
            return Err(wrong("its `input` is words, whose sequences have no label"));
        }
        (StoredInput::Texts {}, Some(vocabulary)) => Input::Texts(vocabulary),
        (StoredInput::Words {}, Some(words)) => {
            if words.kind() != TokenKind::Word {
                return Err(wrong("its `vocabulary` is none of words"));
            }
            let alphabet = file.characters.take();
            if alphabet
                .as_ref()
                .is_some_and(|alphabet| alphabet.kind() != TokenKind::Char)
            {
                return Err(wrong("its `characters` are none"));
            }
            Input::Words(words, alphabet)
        }
        (StoredInput::Texts {} | StoredInput::Words {}, None) => {
            return Err(wrong("its metadata has no `vocabulary`"));
        }
        (
            StoredInput::Numbers {
                shape,
                whole,
                frames,
                center,
            },
            _,
        ) => {
            let size = shape.iter().skip(1).try_fold(1_usize, |size, &axis| {
                size.checked_mul(axis).filter(|&size| size <= MAX_STEP)
            });
            let fits = (2..=4).contains(&shape.len()) && frames == (shape.len() == 4);
            if !fits || shape.contains(&0) || size.is_none() || shape[0] > MAX_STEP {
                return Err(wrong(&format!("its `input` has the shape {shape:?}")));
            }
            let standardisation = file.standardisation.take().unwrap_or_default();
            let standardisation: Standardisation = serde_json::from_value(standardisation)
                .map_err(|error| {
                    wrong(&format!("its `standardisation` cannot be used: {error}"))
                })?;
            if Some(&standardisation.features()) != shape.last() {
                return Err(wrong("its `standardisation` does not fit its `input`"));
            }
            Input::Numbers(NumberInput {
                shape,
                whole,
                frames,
                standardisation: Arc::new(standardisation),
                center,
            })
        }
    })
}
