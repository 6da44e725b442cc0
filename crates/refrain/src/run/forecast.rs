//! Model files of forecasters: what is read and how, the weights in one file, and back; what they say of new numbers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain_kernels::Compute;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::model::{check_size, model_path, settings_of, take, unfit};
use super::settings::Resolved;
use crate::checkpoint::{ModelFile, Tensor};
use crate::data::Standardisation;
use crate::data::forecast::{
    Anchor, Baselines, ForecastEncoding, ForecastExamples, ForecastMode, LinearBaseline,
    RawForecast,
};
use crate::error::{Error, Result};
use crate::models::{Forecaster, ForecasterSpace, SequenceBatch};
use crate::nn::{ForecastLoss, Parameter, Parameters as _};
use crate::train::{Answers, read_answer};

/// The most numbers that a step of a model file may have, and steps of a window.
const MAX_STEP: usize = 1 << 24;
const MAX_STEPS: usize = 1 << 16;

/// The arrays of the linear model that a forecaster is compared with; they are no part of it.
pub const LINEAR_WEIGHT: &str = "baseline.weight";
/// The same.
pub const LINEAR_BIAS: &str = "baseline.bias";

/// What a model file says of its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredInput {
    kind: String,
    reads: ForecastMode,
    columns: Vec<String>,
    features: usize,
    seq_len: Option<usize>,
    targets: Vec<usize>,
    baselines: Baselines,
    target_standardisation: Option<Standardisation>,
}

/// The only kind that there is.
const KIND: &str = "forecast";

/// A forecaster read from a file.
#[derive(Clone, Debug)]
pub struct LoadedForecaster {
    /// The file.
    pub path: PathBuf,
    /// The model.
    pub model: Forecaster<f32>,
    /// How it reads numbers.
    pub encoding: ForecastEncoding,
    /// How it was configured.
    pub config: Resolved,
    /// How it was trained: `steps`, `tokens`, losses.
    pub trained: Map<String, Value>,
}

/// What a model file says of its input.
#[must_use]
pub fn input_json(encoding: &ForecastEncoding) -> Value {
    let stored = StoredInput {
        kind: KIND.into(),
        reads: encoding.mode,
        columns: encoding.columns.clone(),
        features: encoding.features,
        seq_len: encoding.seq_len,
        targets: encoding.targets.clone(),
        baselines: encoding.baselines.clone(),
        target_standardisation: encoding.target_scale.clone(),
    };
    serde_json::to_value(stored).unwrap_or_default()
}

/// The file of a forecaster.
#[must_use]
pub fn forecaster_file(
    model: &Forecaster<f32>,
    encoding: &ForecastEncoding,
    config: &Resolved,
    trained: Map<String, Value>,
) -> ModelFile {
    let mut file = ModelFile {
        config: config.model_config_json().into_iter().collect(),
        input: Some(input_json(encoding)),
        standardisation: serde_json::to_value(&*encoding.scale).ok(),
        trained,
        ..ModelFile::default()
    };
    let mut insert = |parameter: &Parameter<f32>| {
        let tensor = Tensor::f32(&parameter.shape, parameter.value.clone());
        file.tensors.insert(parameter.name.clone(), tensor);
    };
    model.visit(&mut |parameter| insert(parameter));
    model.visit_buffers(&mut |buffer| insert(buffer));
    if let Some(linear) = &encoding.baselines.linear {
        let horizon = linear.bias.len();
        let shape = [horizon, linear.weight.len() / horizon];
        let weight = Tensor::f32(&shape, linear.weight.clone());
        file.tensors.insert(LINEAR_WEIGHT, weight);
        let bias = Tensor::f32(&[horizon], linear.bias.clone());
        file.tensors.insert(LINEAR_BIAS, bias);
    }
    file
}

impl LoadedForecaster {
    /// Reads a model file, or the best model of a run folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Run`], or [`Error::Model`] naming what does not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let path = model_path(path)?;
        let file = ModelFile::load(&path)?;
        Self::from_file(&path, file)
    }

    /// From a file that was read.
    ///
    /// # Errors
    /// [`Error::Model`] naming what does not fit.
    pub fn from_file(path: &Path, mut file: ModelFile) -> Result<Self> {
        let config = settings_of(path, &file)?;
        let mut encoding = encoding_of(path, &mut file, &config)?;
        let shape = encoding.shape();
        let parameters = shape.parameter_estimate(&config.model);
        check_size(path, &file, parameters)?;
        let mut model = Forecaster::zeros(&config.model, &shape);
        let mut result = Ok(());
        let mut take = |parameter: &mut Parameter<f32>| take(&mut file, parameter, &mut result);
        model.visit_mut(&mut |parameter| take(parameter));
        model.visit_buffers_mut(&mut |buffer| take(buffer));
        result?;
        if let (ForecastMode::Windows { context, horizon }, Some(_)) =
            (encoding.mode, file.tensors.shape(LINEAR_WEIGHT))
        {
            encoding.baselines.linear = Some(LinearBaseline {
                weight: file.tensors.take(LINEAR_WEIGHT, &[horizon, context])?,
                bias: file.tensors.take(LINEAR_BIAS, &[horizon])?,
            });
        }
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

/// What the file says of how numbers are read; nothing of it is trusted.
fn encoding_of(path: &Path, file: &mut ModelFile, config: &Resolved) -> Result<ForecastEncoding> {
    let wrong = |problem: String| unfit(path, problem);
    let input = file.input.take().unwrap_or_default();
    let input: StoredInput = serde_json::from_value(input)
        .map_err(|error| wrong(format!("its `input` cannot be read: {error}")))?;
    let scale = file.standardisation.take().unwrap_or_default();
    let scale: Standardisation = serde_json::from_value(scale)
        .map_err(|error| wrong(format!("its `standardisation` cannot be used: {error}")))?;
    let loss = config
        .loss
        .ok_or_else(|| wrong("its `config` has no `loss`".into()))?;
    if let Some(problem) = misfit(&input, &scale, config, loss) {
        return Err(wrong(problem.into()));
    }
    let windows = matches!(input.reads, ForecastMode::Windows { .. });
    Ok(ForecastEncoding {
        mode: input.reads,
        columns: input.columns,
        features: input.features,
        seq_len: input.seq_len,
        targets: input.targets,
        loss,
        anchor: config.anchor.filter(|_| windows).unwrap_or(Anchor::None),
        shortcut: windows && config.shortcut.unwrap_or(false),
        scale: Arc::new(scale),
        target_scale: input.target_standardisation,
        baselines: input.baselines,
    })
}

/// What of the stored input does not fit together.
fn misfit(
    input: &StoredInput,
    scale: &Standardisation,
    config: &Resolved,
    loss: ForecastLoss,
) -> Option<&'static str> {
    let StoredInput {
        features, targets, ..
    } = input;
    let is_size = |size: usize, most: usize| (1..=most).contains(&size);
    if input.kind != KIND {
        return Some("its `input` is not that of a forecaster");
    }
    if !is_size(*features, MAX_STEP) || scale.features() != *features {
        return Some("its `standardisation` does not fit its `input`");
    }
    if !input.columns.is_empty() && input.columns.len() != *features {
        return Some("its `columns` do not fit its `features`");
    }
    if input.seq_len.is_some_and(|steps| !is_size(steps, MAX_STEP)) {
        return Some("its `seq_len` is not possible");
    }
    let given = matches!(input.reads, ForecastMode::Given { .. });
    let known = if given { targets.len() } else { *features };
    if targets.is_empty() || targets.len() > MAX_STEP || targets.iter().any(|&at| at >= known) {
        return Some("its `targets` are not among what is known");
    }
    let scaled = input
        .target_standardisation
        .as_ref()
        .map(Standardisation::features);
    if scaled != given.then_some(targets.len()) {
        return Some("its `target_standardisation` does not fit its `targets`");
    }
    if let ForecastMode::Windows { context, horizon } = input.reads {
        let same = config.context == Some(context) && config.horizon == Some(horizon);
        if !(same && is_size(context, MAX_STEPS) && is_size(horizon, MAX_STEPS)) {
            return Some("its windows are not those of its `config`");
        }
    }
    let frequencies = &input.baselines.frequencies;
    let wanted = if loss == ForecastLoss::Bernoulli {
        targets.len()
    } else {
        0
    };
    let possible = |&p: &f64| p > 0.0 && p < 1.0;
    if frequencies.len() != wanted || !frequencies.iter().all(possible) {
        return Some("its `frequencies` do not fit its `targets`");
    }
    if input
        .baselines
        .season
        .is_some_and(|season| !is_size(season, MAX_STEP))
    {
        return Some("its `season` is not possible");
    }
    None
}

/// What a forecaster says of one series or sequence, in the units of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Steps × targets: means, or probabilities.
    pub values: Vec<Vec<f64>>,
    /// The same of deviations, where the loss is `gaussian`.
    pub deviations: Vec<Vec<f64>>,
}

/// What a forecaster says of each series or sequence: the steps after its last one, or the numbers that belong to it. It does
/// not depend on what stands beside it.
///
/// # Errors
/// [`Error::Unusable`] where the data is of another kind or shape than the model reads. Of several sequences each that is too
/// short has an error of its own.
pub fn forecast(
    loaded: &LoadedForecaster,
    compute: &Compute,
    raw: &RawForecast,
) -> Result<Vec<Result<Forecast>>> {
    let encoding = &loaded.encoding;
    let mut forecasts = Vec::new();
    let examples = match (raw, encoding.mode) {
        (
            RawForecast::Arrays {
                arrays,
                chosen,
                name,
            },
            ForecastMode::Windows { context, .. },
        ) => {
            let mut long = Vec::new();
            for &at in chosen {
                let steps = arrays.length(at);
                forecasts.push(if steps < context {
                    Err(too_short(
                        &format!("example {at} of `{name}`"),
                        steps,
                        context,
                    ))
                } else {
                    long.push(at);
                    Ok(Forecast::default())
                });
            }
            if long.is_empty() {
                return Ok(forecasts);
            }
            let arrays = RawForecast::Arrays {
                arrays: Arc::clone(arrays),
                chosen: long,
                name: name.clone(),
            };
            encoding.encode(&arrays, false)?
        }
        (RawForecast::Table(series), ForecastMode::Windows { context, .. })
            if series.rows() < context && !encoding.columns.is_empty() =>
        {
            // Whether it is the right series comes first.
            series.clone().with_columns(&encoding.columns)?;
            return Err(too_short(
                &format!("`{}`", series.name),
                series.rows(),
                context,
            ));
        }
        _ => encoding.encode(raw, false)?,
    };
    forecasts.resize_with(forecasts.len().max(examples.len()), || {
        Ok(Forecast::default())
    });
    let said = answers(loaded, compute, &examples.beyond());
    for (forecast, said) in forecasts.iter_mut().filter(|f| f.is_ok()).zip(said) {
        *forecast = Ok(said);
    }
    Ok(forecasts)
}

fn too_short(what: &str, steps: usize, context: usize) -> Error {
    Error::Unusable {
        problem: format!(
            "{what} has {steps} steps, and the model looks back {context} (`context`)"
        ),
        hint: "give at least so many".into(),
    }
}

fn answers(
    loaded: &LoadedForecaster,
    compute: &Compute,
    examples: &ForecastExamples,
) -> Vec<Forecast> {
    let (encoding, model) = (&loaded.encoding, &loaded.model);
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    model.pack(&mut space, false);
    let targets = encoding.targets.len();
    let units = |at: usize, values: &[f64], is_spread: bool| -> Vec<Vec<f64>> {
        let number = |(target, value): (usize, &f64)| {
            let (mean, deviation) = encoding.scale_of(target);
            let anchor = f64::from(examples.anchor_of(at, encoding.targets[target]));
            if is_spread {
                value * deviation
            } else {
                mean + deviation * (value + anchor)
            }
        };
        let steps = values.chunks_exact(targets);
        steps
            .map(|step| step.iter().enumerate().map(number).collect())
            .collect()
    };
    let each = (0..examples.len()).map(|at| {
        examples.fill(&[at], &mut batch);
        compute.run(|| model.answer(compute, &mut space, &batch, None));
        let rows = match encoding.mode {
            ForecastMode::Given { per_step: true } => 0..space.outputs().rows(),
            // Only the step that nobody knows yet.
            _ => space.outputs().rows() - 1..space.outputs().rows(),
        };
        let mut forecast = Forecast::default();
        for row in rows {
            let Answers { values, deviations } = read_answer(model, &space, row);
            // Of given numbers nothing is anchored.
            let given = encoding.target_scale.is_some();
            let at = if given { 0 } else { at };
            forecast.values.extend(units(at, &values, false));
            forecast.deviations.extend(units(at, &deviations, true));
        }
        forecast
    });
    each.collect()
}
