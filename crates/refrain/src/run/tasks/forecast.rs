use refrain_kernels::Compute;
use serde_json::{Map, Value};

use super::{PROCESS_BYTES, Prepared, RunTask, Weights, checked_memory};
use crate::checkpoint::ModelFile;
use crate::data::demo;
use crate::data::forecast::{
    FittedForecast, ForecastExamples, ForecastMode, ForecastOptions, ForecastSources, demo_parts,
    fit, read_forecast_parts,
};
use crate::error::{Error, Result};
use crate::metrics::ForecastReport;
use crate::models::{Forecaster, Output, falling_order};
use crate::nn::CellKind;
use crate::run::Given;
use crate::run::forecast::forecaster_file;
use crate::run::graph::Graph;
use crate::run::settings::Resolved;
use crate::train::{
    FORECAST_SCORED_ROWS, ForecastData, ForecastPart, ForecastTask, Purpose, Score, keyed_rng,
};

/// Steps that the plain network sees of a sequence, unless it is told.
const WINDOW: usize = 16;

impl RunTask for ForecastTask {
    fn model_file(&self, config: &Resolved, trained: Map<String, Value>) -> ModelFile {
        forecaster_file(self.model(), &self.data().encoding, config, trained)
    }

    fn graph(&self) -> Graph {
        let encoding = &self.data().encoding;
        Graph::of_forecaster(self.model(), encoding.mode, encoding.targets.len())
    }

    fn has_test(&self) -> bool {
        self.data().test.is_some()
    }

    /// The score, and beside it what simple means reach.
    fn test(&mut self, compute: &Compute) -> Option<Score> {
        let mut score = self.score(compute, ForecastPart::Test)?.score();
        let data = self.data();
        let test = data.test.as_ref()?;
        let baselines = &data.encoding.baselines;
        for (name, errors) in baselines.errors(compute, &data.encoding, test) {
            let means = errors.means();
            score.metrics.insert(format!("{name}_mse"), means.mse);
            score.metrics.insert(format!("{name}_mae"), means.mae);
            if name == "frequency" {
                let loss = baselines.frequency_loss(&errors);
                score.metrics.insert(format!("{name}_loss_nats"), loss);
            }
        }
        Some(score)
    }

    fn forecast_report(&mut self, compute: &Compute) -> Option<ForecastReport> {
        let part = if self.has_test() {
            ForecastPart::Test
        } else {
            ForecastPart::Validation
        };
        self.report(compute, part)
    }
}

/// Writes what the data decided into the settings, so that a resume reads it alike.
///
/// # Errors
/// [`Error::Setting`] of `window` where the plain network sees all at once.
fn settle(config: &mut Resolved, fitted: &FittedForecast) -> Result<()> {
    let encoding = &fitted.encoding;
    config.loss = Some(encoding.loss);
    match encoding.mode {
        ForecastMode::Windows { context, horizon } => {
            config.context = Some(context);
            config.horizon = Some(horizon);
            config.anchor = Some(encoding.anchor);
            config.shortcut = Some(encoding.shortcut);
        }
        ForecastMode::NextStep {} | ForecastMode::Given { .. } => config.horizon = Some(1),
    }
    if config.model.cell != CellKind::Mlp {
        return Ok(());
    }
    if encoding.mode.output() == Output::Sequence {
        if let Some(window) = config.window {
            return Err(Error::Setting {
                name: "window".into(),
                found: window.to_string(),
                expected: "nothing: the plain network sees the steps of an answer all at once"
                    .into(),
                hint: "leave it out; `--context` tells how many steps of a series there are".into(),
            });
        }
    } else {
        config.model.window = *config.window.get_or_insert(WINDOW);
    }
    Ok(())
}

/// Reads the data, makes the encoding of the training part, estimates the memory.
pub(super) fn prepare(
    config: &mut Resolved,
    given: &mut Given<'_>,
    _weights: Weights,
) -> Result<Prepared> {
    let max_bytes = given
        .available_bytes
        .map_or(crate::data::text::DEFAULT_MAX_BYTES, |bytes| bytes / 6);
    let stdin = super::read_stdin(config, given, max_bytes)?;
    let sources = ForecastSources {
        paths: &config.data,
        format: config.format,
        validation: &config.validation,
        test: &config.test,
        seed: config.seed,
        on_bad_row: config.on_bad_row,
        max_bytes,
    };
    let parts = if config.data.is_empty() {
        demo_parts(demo::seasons(), sources)?
    } else {
        read_forecast_parts(sources, stdin.as_deref())?
    };
    let options = ForecastOptions {
        context: config.context,
        horizon: config.horizon,
        target_column: config.target_column.clone(),
        loss: config.loss,
        anchor: config.anchor,
        shortcut: config.shortcut,
        bidirectional: config.model.bidirectional,
    };
    let fitted = fit(&parts, &options)?;
    settle(config, &fitted)?;
    let memory_bytes = memory(config, &fitted, given)?;
    let mut notes = parts.notes;
    notes.extend(fitted.notes);
    let steps_per_epoch = fitted.train.len().div_ceil(config.batch) as u64;
    let data = ForecastData {
        encoding: fitted.encoding,
        train: fitted.train,
        validation: fitted.validation,
        test: fitted.test,
    };
    Ok(Prepared {
        steps_per_epoch,
        sha256: parts.sha256,
        notes,
        memory_bytes,
        stdin,
        build: Box::new(move |config, weights| {
            let shape = data.encoding.shape();
            let model = match weights {
                Weights::Drawn => {
                    let mut rng = keyed_rng(config.seed, Purpose::Weights, 0);
                    let mut model = Forecaster::new(&config.model, &shape, &mut rng);
                    begin_with_frequencies(&mut model, &data.encoding.baselines.frequencies);
                    model
                }
                Weights::Zero => Forecaster::zeros(&config.model, &shape),
            };
            Box::new(ForecastTask::new(model, data, config.batch, config.seed))
        }),
    })
}

/// Lets a model that says how likely each number is to be there begin with how often it is: to learn that first would fill
/// the optimiser's moments with gradients that never come again.
fn begin_with_frequencies(model: &mut Forecaster<f32>, frequencies: &[f64]) {
    let biases = model.linear.bias.value.iter_mut();
    for (bias, &p) in biases.zip(frequencies.iter().cycle()) {
        *bias = libm::log(p / (1.0 - p)) as f32;
    }
}

/// What a run takes: the process, the data, the model with the largest batch that there may be.
fn memory(config: &Resolved, fitted: &FittedForecast, given: &Given<'_>) -> Result<u64> {
    let held = [&fitted.validation, &fitted.test].into_iter().flatten();
    let all: Vec<&ForecastExamples> = std::iter::once(&fitted.train).chain(held).collect();
    let longest = |examples: &&ForecastExamples| examples.lengths().iter().copied().max();
    let scored = all[1..].iter().filter_map(longest).max();
    let lengths = fitted.train.lengths();
    let trained = falling_order(lengths).into_iter().take(config.batch);
    let trained: usize = trained.map(|at| lengths[at]).sum();
    let scored = scored.map_or(0, |longest| longest.max(FORECAST_SCORED_ROWS));
    // A batch that is scored keeps no gradients, so this is more than it takes.
    let shape = fitted.encoding.shape();
    let model = shape.memory_estimate(&config.model, trained.max(scored));
    let mut rows: Vec<_> = all.iter().map(|examples| examples.rows()).collect();
    rows.dedup_by(|a, b| std::sync::Arc::ptr_eq(a, b));
    let rows: u64 = rows.iter().map(|rows| rows.bytes()).sum();
    // The examples and their order, twice.
    let examples: u64 = all.iter().map(|examples| 3 * examples.bytes()).sum();
    checked_memory(
        PROCESS_BYTES + (rows + examples) as f64 + 1.1 * model,
        given,
        "give a smaller `--hidden-size`, `--num-layers`, `--batch` or `--context`",
    )
}
