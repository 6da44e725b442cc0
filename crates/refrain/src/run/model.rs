//! Model files of a task: the architecture, the vocabulary and the weights in one file, and back.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::forecast::LoadedForecaster;
use super::graph::Graph;
use super::labels::LoadedLabeller;
use super::settings::{Resolved, Settings, Task};
use super::writers::LoadedWriter;
use crate::checkpoint::container::shortened;
use crate::checkpoint::{ModelFile, Tensor, Vocabularies};
use crate::data::Vocabulary;
use crate::error::{Error, Result};
use crate::models::LanguageModel;
use crate::nn::Parameter;

/// A model read from a file.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// The file.
    pub path: PathBuf,
    /// The model.
    pub model: LanguageModel<f32>,
    /// Its symbols.
    pub vocabulary: Vocabulary,
    /// How it was configured.
    pub config: Resolved,
    /// How it was trained: `steps`, `tokens`, losses, `first_token`, …
    pub trained: Map<String, Value>,
}

/// The settings that a model file keeps.
///
/// # Errors
/// [`Error::Model`] if they cannot be used.
pub fn settings_of(path: &Path, file: &ModelFile) -> Result<Resolved> {
    let wrong = |problem: String| unfit(path, problem);
    Settings::from_model_config(Value::Object(file.config.clone()))
        .map_err(|error| {
            wrong(format!(
                "its `config` cannot be read: {}",
                shortened(&error)
            ))
        })?
        .resolve()
        .map_err(|error| wrong(format!("its `config` cannot be used: {error}")))
}

/// A model of any task.
#[derive(Clone, Debug)]
pub enum AnyModel {
    /// A language model.
    LanguageModel(Box<LoadedModel>),
    /// A classifier or tagger.
    Labeller(Box<LoadedLabeller>),
    /// A translator or captioner.
    Writer(Box<LoadedWriter>),
    /// A forecaster.
    Forecaster(Box<LoadedForecaster>),
}

impl AnyModel {
    /// Reads a model file, or the best model of a run folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Run`], or [`Error::Model`] naming what does not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_path(path)?;
        let file = ModelFile::load(&path)?;
        Ok(match settings_of(&path, &file)?.task {
            Task::Lm => Self::LanguageModel(Box::new(LoadedModel::from_file(&path, file)?)),
            Task::Translate | Task::Caption => {
                Self::Writer(Box::new(LoadedWriter::from_file(&path, file)?))
            }
            Task::Classify | Task::Tag => {
                Self::Labeller(Box::new(LoadedLabeller::from_file(&path, file)?))
            }
            Task::Forecast => Self::Forecaster(Box::new(LoadedForecaster::from_file(&path, file)?)),
        })
    }

    /// The model unrolled over time.
    #[must_use]
    pub fn graph(&self) -> Graph {
        match self {
            Self::LanguageModel(loaded) => Graph::of_language_model(&loaded.model),
            Self::Labeller(loaded) => {
                Graph::of_labeller(&loaded.model, loaded.config.task == Task::Tag)
            }
            Self::Writer(loaded) => Graph::of_writer(&loaded.model),
            Self::Forecaster(loaded) => {
                let (mode, targets) = (loaded.encoding.mode, loaded.encoding.targets.len());
                Graph::of_forecaster(&loaded.model, mode, targets)
            }
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::LanguageModel(model) => &model.path,
            Self::Labeller(model) => &model.path,
            Self::Writer(model) => &model.path,
            Self::Forecaster(model) => &model.path,
        }
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &Resolved {
        match self {
            Self::LanguageModel(model) => &model.config,
            Self::Labeller(model) => &model.config,
            Self::Writer(model) => &model.config,
            Self::Forecaster(model) => &model.config,
        }
    }
}

/// A model file that cannot be used.
pub(super) fn unfit(path: &Path, problem: impl Into<String>) -> Error {
    Error::Model {
        path: path.to_owned(),
        problem: problem.into(),
        hint: "train it again, or use the version of refrain that wrote it".into(),
    }
}

/// Refuses a file whose configuration asks for far more numbers than it holds, before anything of that size is allocated.
pub(super) fn check_size(path: &Path, file: &ModelFile, parameters: f64) -> Result<()> {
    let tensors = file.tensors.iter();
    let stored: usize = tensors.map(|(_, tensor)| tensor.data().len()).sum();
    if parameters > 2.0 * stored as f64 + 4096.0 {
        let problem = format!("it holds {stored} numbers, fewer than its `config` asks for");
        return Err(unfit(path, problem));
    }
    Ok(())
}

/// Takes a parameter's numbers out of a file, unless an earlier one failed.
pub(super) fn take(file: &mut ModelFile, parameter: &mut Parameter<f32>, result: &mut Result<()>) {
    if result.is_ok() {
        match file.tensors.take(&parameter.name, &parameter.shape) {
            Ok(values) => parameter.value = values,
            Err(error) => *result = Err(error),
        }
    }
}

/// The model file that `path` means: itself, or the best model of a run folder, or its last one where there is no best.
///
/// # Errors
/// [`Error::Run`] if the folder has no model.
pub fn model_path(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    for name in ["best.safetensors", "last.safetensors"] {
        let file = path.join(name);
        if file.is_file() {
            return Ok(file);
        }
    }
    Err(Error::Run {
        path: path.to_owned(),
        problem: "it has no `best.safetensors` and no `last.safetensors`".into(),
        hint: "name a model file, or a run folder in which a model was saved".into(),
    })
}

impl LoadedModel {
    /// Reads a model file, or the best model of a run folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Run`], or [`Error::Model`] naming what does not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_path(path)?;
        let file = ModelFile::load(&path)?;
        Self::from_file(&path, file)
    }

    fn from_file(path: &Path, mut file: ModelFile) -> Result<Self> {
        let wrong = |problem: String| unfit(path, problem);
        let config = settings_of(path, &file)?;
        if config.task != Task::Lm {
            return Err(Error::Model {
                path: path.to_owned(),
                problem: format!("it is a model of the task `{}`, not of `lm`", config.task),
                hint: "`refrain predict` and `refrain evaluate` use it; `refrain info` tells what it is".into(),
            });
        }
        let Vocabularies::One(vocabulary) = std::mem::take(&mut file.vocabularies) else {
            return Err(wrong(
                "its `vocabulary` is not that of a language model".into(),
            ));
        };
        // The shapes are compared before anything of the configured size is allocated.
        let shape = file
            .tensors
            .shape("embedding.weight")
            .map(<[usize]>::to_vec);
        let expected = vec![vocabulary.len(), config.model.embedding_size];
        if shape.as_ref() != Some(&expected) {
            return Err(wrong(match shape {
                Some(shape) => {
                    format!("`embedding.weight` has shape {shape:?}, expected {expected:?}")
                }
                None => "it has no tensor `embedding.weight`".into(),
            }));
        }
        check_size(
            path,
            &file,
            config.model.parameter_estimate(vocabulary.len()),
        )?;
        let mut model = LanguageModel::zeros(&config.model, vocabulary.len());
        let mut result = Ok(());
        model.visit_all_mut(&mut |parameter| take(&mut file, parameter, &mut result));
        result?;
        file.tensors.finish()?;
        if model.config.tie_weights && model.linear.weight.value != model.embedding.weight.value {
            return Err(wrong(
                "its weights are tied, but `linear.weight` is not `embedding.weight`".into(),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            model,
            vocabulary,
            config,
            trained: file.trained,
        })
    }

    /// The token that sampling begins with where the user gives no prompt.
    #[must_use]
    pub fn first_token(&self) -> Option<u32> {
        let token = self.trained.get("first_token")?.as_u64()?;
        u32::try_from(token)
            .ok()
            .filter(|&token| (token as usize) < self.vocabulary.len())
    }
}

/// The file of a language model.
#[must_use]
pub fn model_file(
    model: &LanguageModel<f32>,
    vocabulary: &Vocabulary,
    config: &Resolved,
    trained: Map<String, Value>,
) -> ModelFile {
    let mut file = ModelFile {
        config: config.model_config_json().into_iter().collect(),
        vocabularies: Vocabularies::One(vocabulary.clone()),
        trained,
        ..ModelFile::default()
    };
    model.visit_all(&mut |parameter| {
        // A tied weight is the embedding's, also before the next pass copies it.
        let value = if parameter.name == "linear.weight" && model.config.tie_weights {
            &model.embedding.weight.value
        } else {
            &parameter.value
        };
        file.tensors.insert(
            parameter.name.clone(),
            Tensor::f32(&parameter.shape, value.clone()),
        );
    });
    file
}
