use std::collections::BTreeMap;

use refrain_kernels::{Compute, DropoutKey, Panels};

use super::buckets::BucketPlan;
use super::buffers::KeptBuffers;
use super::events::{Start, Watch};
use super::labels::batches_of_rows;
use super::traces::{number_losses, number_traces};
use super::watch::{first_lengths, watch_layers, watched_losses};
use super::{Score, StepLoss, Task};
use crate::data::forecast::{ForecastEncoding, ForecastExamples, ForecastMode};
use crate::inspect::gates::GateCounter;
use crate::inspect::watch::{GATE_STEPS, WatchKind};
use crate::metrics::{
    ErrorMeans, ForecastBaseline, ForecastErrors, ForecastReport, ForecastRoll, ForecastStretch,
    ForecastTarget,
};
use crate::models::{Body, Forecaster, ForecasterSpace, SequenceBatch, rows_of};
use crate::nn::{ForecastLoss, Parameters, deviation, probability};

/// Rows over time of a batch that is only scored.
pub const FORECAST_SCORED_ROWS: usize = 8192;

/// Targets that are drawn, and about how many steps of each.
const DRAWN_TARGETS: usize = 6;
const DRAWN_STEPS: usize = 240;
/// Steps of a roll that are drawn.
const DRAWN_ROLL: usize = 64;

/// Numbers to be forecast, in parts.
#[derive(Clone, Debug)]
pub struct ForecastData {
    /// How they are read.
    pub encoding: ForecastEncoding,
    /// What is learnt from.
    pub train: ForecastExamples,
    /// What tells how good the model is while it learns, if anything.
    pub validation: Option<ForecastExamples>,
    /// What is scored once at the end, if anything.
    pub test: Option<ForecastExamples>,
}

/// How far off a forecaster is.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastScore {
    /// The mean loss of an answer.
    pub loss: f64,
    /// The errors of the answers, on the scale on which each target has deviation 1.
    pub errors: ForecastErrors,
}

impl ForecastScore {
    /// The same as a [`Score`].
    #[must_use]
    pub fn score(&self) -> Score {
        let ErrorMeans { mse, mae } = self.errors.means();
        Score {
            loss_nats: self.loss,
            metrics: BTreeMap::from([("mse".to_owned(), mse), ("mae".to_owned(), mae)]),
        }
    }
}

/// Training a forecaster.
#[derive(Debug)]
pub struct ForecastTask {
    model: Forecaster<f32>,
    data: ForecastData,
    plan: BucketPlan,
    seed: u64,
    space: ForecasterSpace<f32>,
    batch: SequenceBatch<f32>,
    targets: Panels<f32>,
    /// Before the last step.
    previous: KeptBuffers,
}

impl ForecastTask {
    /// Joins a model with its data; a step has `batch` windows or sequences.
    ///
    /// # Panics
    /// If there is nothing to learn from.
    #[must_use]
    pub fn new(model: Forecaster<f32>, data: ForecastData, batch: usize, seed: u64) -> Self {
        let plan = BucketPlan::new(data.train.lengths().to_vec(), batch, seed);
        Self {
            model,
            data,
            plan,
            seed,
            space: ForecasterSpace::default(),
            batch: SequenceBatch::default(),
            targets: Panels::default(),
            previous: KeptBuffers::default(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Forecaster<f32> {
        &self.model
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &ForecastData {
        &self.data
    }

    /// How far off the model is on some examples.
    pub fn score(&mut self, compute: &Compute, of: ForecastPart) -> Option<ForecastScore> {
        let examples = match of {
            ForecastPart::Validation => self.data.validation.as_ref(),
            ForecastPart::Test => self.data.test.as_ref(),
        }?;
        let (space, encoding) = (&mut self.space, &self.data.encoding);
        Some(score_forecast(
            compute,
            &self.model,
            space,
            encoding,
            examples,
        ))
    }

    /// The same with what simple means reach, and with some answers to be drawn.
    pub fn report(&mut self, compute: &Compute, of: ForecastPart) -> Option<ForecastReport> {
        let examples = match of {
            ForecastPart::Validation => self.data.validation.as_ref(),
            ForecastPart::Test => self.data.test.as_ref(),
        }?;
        let (space, encoding) = (&mut self.space, &self.data.encoding);
        Some(report_forecast(
            compute,
            &self.model,
            space,
            encoding,
            examples,
        ))
    }
}

/// A part that is not learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForecastPart {
    /// Scored while learning.
    Validation,
    /// Scored at the end.
    Test,
}

/// What a model says of some answers, on the scale on which each target has deviation 1: rows × (horizon · targets).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Means, or probabilities.
    pub values: Vec<f64>,
    /// Deviations of a normal distribution; none of other losses.
    pub deviations: Vec<f64>,
}

/// Reads the answers of the last pass: those of `row`.
#[must_use]
pub fn read_answer(model: &Forecaster<f32>, space: &ForecasterSpace<f32>, row: usize) -> Answers {
    let (shape, outputs) = (model.shape(), space.outputs());
    let count = shape.horizon * shape.targets;
    let output = |column: usize| f64::from(outputs.get(row, column));
    let values = (0..count).map(output);
    match shape.loss {
        ForecastLoss::Bernoulli => Answers {
            values: values.map(probability).collect(),
            deviations: Vec::new(),
        },
        ForecastLoss::Gaussian => Answers {
            values: values.collect(),
            deviations: (count..2 * count).map(output).map(deviation).collect(),
        },
        ForecastLoss::Mse | ForecastLoss::Mae => Answers {
            values: values.collect(),
            deviations: Vec::new(),
        },
    }
}

/// What looks at a batch after a pass over it: the examples in it, their targets, and what the pass left.
type See<'a> = dyn FnMut(&[usize], &SequenceBatch<f32>, &Panels<f32>, &ForecasterSpace<f32>) + 'a;

/// Calls `see` with each batch after a pass over it.
fn each_batch(
    compute: &Compute,
    model: &Forecaster<f32>,
    space: &mut ForecasterSpace<f32>,
    examples: &ForecastExamples,
    see: &mut See<'_>,
) {
    let (mut batch, mut targets) = (SequenceBatch::default(), Panels::default());
    model.pack(space, false);
    for chosen in batches_of_rows(examples.lengths(), FORECAST_SCORED_ROWS) {
        examples.fill(&chosen, &mut batch);
        examples.fill_targets(&chosen, &batch.steps, &mut targets);
        compute.run(|| model.loss(compute, space, &batch, &targets));
        see(&chosen, &batch, &targets, space);
    }
}

/// How the gates of a forecaster stand over the first windows or sequences, until they have `most` steps.
pub fn number_gates(
    compute: &Compute,
    model: &Forecaster<f32>,
    examples: &ForecastExamples,
    most: usize,
) -> GateCounter {
    let mut counter = GateCounter::default();
    let Body::Recurrent(stack) = &model.encoder.body else {
        return counter;
    };
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    model.pack(&mut space, false);
    let lengths = first_lengths(examples.lengths(), most);
    for chosen in batches_of_rows(lengths, FORECAST_SCORED_ROWS) {
        examples.fill(&chosen, &mut batch);
        compute.run(|| model.answer(compute, &mut space, &batch, None));
        counter.add("rnn", stack, space.encoder.stack());
    }
    counter
}

/// Which example each answer of a batch is of: a place in the batch.
fn places(model: &Forecaster<f32>, batch: &SequenceBatch<f32>) -> Vec<usize> {
    match model.shape().output {
        crate::models::Output::Sequence => (0..batch.steps.batch()).collect(),
        _ => rows_of(&batch.steps).map(|(place, _)| place).collect(),
    }
}

/// How far off a forecaster is. It does not matter in which batch an example is: losses are added up by example, then in their
/// order.
pub fn score_forecast(
    compute: &Compute,
    model: &Forecaster<f32>,
    space: &mut ForecasterSpace<f32>,
    encoding: &ForecastEncoding,
    examples: &ForecastExamples,
) -> ForecastScore {
    let mut losses = vec![0.0; examples.len()];
    let mut answers = 0_u64;
    let mut errors = ForecastErrors::new(encoding.targets.len());
    each_batch(
        compute,
        model,
        space,
        examples,
        &mut |chosen, batch, targets, space| {
            for (row, place) in places(model, batch).into_iter().enumerate() {
                losses[chosen[place]] += space.losses()[row];
                answers += 1;
                let answer = read_answer(model, space, row);
                for (column, value) in answer.values.into_iter().enumerate() {
                    let truth = f64::from(targets.get(row, column));
                    errors.add(column % encoding.targets.len(), value - truth);
                }
            }
        },
    );
    ForecastScore {
        loss: losses.iter().sum::<f64>() / answers.max(1) as f64,
        errors,
    }
}

/// The score with what simple means reach, and with some answers to be drawn.
pub fn report_forecast(
    compute: &Compute,
    model: &Forecaster<f32>,
    space: &mut ForecasterSpace<f32>,
    encoding: &ForecastEncoding,
    examples: &ForecastExamples,
) -> ForecastReport {
    let ForecastScore { loss, errors } = score_forecast(compute, model, space, encoding, examples);
    let baselines = encoding.baselines.errors(compute, encoding, examples);
    let target = |target: usize| {
        let (mean, deviation) = encoding.scale_of(target);
        ForecastTarget {
            name: encoding.target_name(target),
            mean,
            deviation,
        }
    };
    let baselines = baselines
        .into_iter()
        .map(|(name, errors)| ForecastBaseline {
            loss_nats: (name == "frequency").then(|| encoding.baselines.frequency_loss(&errors)),
            name,
            errors,
        });
    let is_roll = encoding.loss == ForecastLoss::Bernoulli
        && !matches!(encoding.mode, ForecastMode::Windows { .. });
    ForecastReport {
        loss_name: encoding.loss.name(),
        loss,
        errors,
        targets: (0..encoding.targets.len()).map(target).collect(),
        baselines: baselines.collect(),
        season: encoding.baselines.season,
        stretches: if is_roll {
            Vec::new()
        } else {
            stretches(compute, model, space, encoding, examples)
        },
        roll: is_roll.then(|| roll(compute, model, space, encoding, examples)),
    }
}

/// Some answers side by side with the truth, in the units of the data.
fn stretches(
    compute: &Compute,
    model: &Forecaster<f32>,
    space: &mut ForecasterSpace<f32>,
    encoding: &ForecastEncoding,
    examples: &ForecastExamples,
) -> Vec<ForecastStretch> {
    let (targets, horizon) = (encoding.targets.len(), encoding.mode.horizon());
    let drawn = targets.min(DRAWN_TARGETS);
    let mut all: Vec<ForecastStretch> = (0..drawn)
        .map(|target| ForecastStretch {
            target,
            ..ForecastStretch::default()
        })
        .collect();
    let rows = examples.rows();
    let unit = |target: usize, value: f64| {
        let (mean, deviation) = encoding.scale_of(target);
        mean + deviation * value
    };
    let (mut batch, mut wanted) = (SequenceBatch::default(), Panels::default());
    model.pack(space, false);
    match encoding.mode {
        ForecastMode::Windows { context, .. } => {
            // Windows one after the other from the first one on, without overlap, within one sequence.
            let first = examples.items()[0];
            let end = first + DRAWN_STEPS.max(2 * horizon);
            let bound = rows.bounds(rows.ends.partition_point(|&end| end < first)).1;
            let chosen: Vec<usize> = (0..examples.len())
                .filter(|&at| {
                    let item = examples.items()[at];
                    (item - first).is_multiple_of(horizon) && item + horizon <= end.min(bound)
                })
                .collect();
            let last = chosen
                .last()
                .map_or(first, |&at| examples.items()[at] + horizon);
            let from = first - context.min(DRAWN_STEPS / 4);
            for stretch in &mut all {
                let column = encoding.targets[stretch.target];
                let truth =
                    (from..last).map(|row| unit(stretch.target, rows.row(row)[column].into()));
                stretch.truth = (from, truth.collect());
            }
            for at in chosen {
                examples.fill(&[at], &mut batch);
                compute.run(|| model.answer(compute, space, &batch, None));
                let answer = read_answer(model, space, 0);
                for stretch in &mut all {
                    let column = encoding.targets[stretch.target];
                    let anchor = f64::from(examples.anchor_of(at, column));
                    let own = |values: &[f64], turn: &dyn Fn(f64) -> f64| {
                        let own = values.iter().skip(stretch.target).step_by(targets);
                        own.map(|&value| turn(value)).collect::<Vec<f64>>()
                    };
                    let values = own(&answer.values, &|value| {
                        unit(stretch.target, value + anchor)
                    });
                    let scale = encoding.scale_of(stretch.target).1;
                    let deviations = own(&answer.deviations, &|value| value * scale);
                    let start = examples.items()[at];
                    stretch.predictions.push((start, values, deviations));
                }
            }
        }
        _ => {
            // The first sequence step by step; or the first sequences, a number each.
            let many = match model.shape().output {
                crate::models::Output::Sequence => DRAWN_STEPS.min(examples.len()),
                _ => 1,
            };
            let (mut answers, mut truths) = (Vec::new(), Vec::new());
            for at in 0..many {
                examples.fill(&[at], &mut batch);
                examples.fill_targets(&[at], &batch.steps, &mut wanted);
                compute.run(|| model.answer(compute, space, &batch, None));
                for row in 0..wanted.rows().min(DRAWN_STEPS) {
                    answers.push(read_answer(model, space, row));
                    truths.push(wanted.to_rows(row, 1));
                }
            }
            for stretch in &mut all {
                let target = stretch.target;
                let truth = truths.iter().map(|row| unit(target, row[target].into()));
                stretch.truth = (0, truth.collect());
                let values = answers
                    .iter()
                    .map(|answer| unit(target, answer.values[target]));
                let scale = encoding.scale_of(target).1;
                let deviations = answers
                    .iter()
                    .filter_map(|answer| answer.deviations.get(target));
                let deviations = deviations.map(|value| value * scale).collect();
                stretch.predictions.push((0, values.collect(), deviations));
            }
        }
    }
    all
}

/// The first steps of the first sequence: what was there, and what was held for likely.
fn roll(
    compute: &Compute,
    model: &Forecaster<f32>,
    space: &mut ForecasterSpace<f32>,
    encoding: &ForecastEncoding,
    examples: &ForecastExamples,
) -> ForecastRoll {
    let (mut batch, mut wanted) = (SequenceBatch::default(), Panels::default());
    let mut roll = ForecastRoll::default();
    model.pack(space, false);
    for at in 0..examples.len() {
        examples.fill(&[at], &mut batch);
        examples.fill_targets(&[at], &batch.steps, &mut wanted);
        compute.run(|| model.answer(compute, space, &batch, None));
        for row in 0..wanted.rows() {
            if roll.truth.len() < DRAWN_ROLL {
                let truth = wanted.to_rows(row, 1);
                roll.truth
                    .push(truth.iter().map(|&value| value > 0.5).collect());
                roll.probabilities
                    .push(read_answer(model, space, row).values);
            }
        }
        // Sequences step by step are drawn alone, answers to whole ones side by side.
        if wanted.rows() > 1 || roll.truth.len() >= DRAWN_ROLL {
            break;
        }
    }
    let occurs = |target: &usize| roll.truth.iter().any(|step| step[*target]);
    let occurring: Vec<usize> = (0..encoding.targets.len()).filter(occurs).collect();
    if let (Some(&first), Some(&last)) = (occurring.first(), occurring.last()) {
        roll.targets = (first..=last).rev().collect();
    }
    roll
}

impl Task for ForecastTask {
    fn start(&self) -> Start {
        let steps =
            |part: &Option<ForecastExamples>| part.as_ref().map_or(0, ForecastExamples::steps);
        Start {
            task: "forecast".into(),
            parameters: self.model.parameter_count() as u64,
            train_tokens: self.data.train.steps(),
            validation_tokens: steps(&self.data.validation),
            vocabulary_size: 0,
            steps_per_epoch: self.steps_per_epoch(),
            total_steps: None,
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn parameters(&self) -> &(dyn Parameters<f32> + Send) {
        &self.model
    }

    fn parameters_mut(&mut self) -> &mut (dyn Parameters<f32> + Send) {
        &mut self.model
    }

    fn step(&mut self, compute: &Compute, step: u64) -> StepLoss {
        self.previous.keep(&self.model);
        let Self {
            model,
            data,
            plan,
            seed,
            space,
            batch,
            targets,
            ..
        } = self;
        let chosen = plan.batch(step);
        data.train.fill(chosen, batch);
        data.train.fill_targets(chosen, &batch.steps, targets);
        let mask = DropoutKey {
            seed: *seed,
            step,
            layer: 0,
        };
        let loss_nats =
            compute.run(|| model.loss_and_gradients(compute, space, batch, targets, Some(mask)));
        StepLoss {
            loss_nats,
            tokens: batch.steps.rows() as u64,
        }
    }

    fn undo_step(&mut self) {
        self.previous.put_back(&mut self.model);
    }

    fn watch(&mut self, compute: &Compute, what: &[WatchKind]) -> Watch {
        let examples = self.data.validation.as_ref().unwrap_or(&self.data.train);
        let losses = || watched_losses(&number_losses(&self.model, examples));
        let traces = || number_traces(compute, &self.model, examples, &losses());
        let gates = || number_gates(compute, &self.model, examples, GATE_STEPS).finish();
        watch_layers(&self.model, what, traces, gates)
    }

    fn validate(&mut self, compute: &Compute) -> Option<Score> {
        self.score(compute, ForecastPart::Validation)
            .map(|score| score.score())
    }
}
