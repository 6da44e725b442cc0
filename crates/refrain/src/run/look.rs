//! `inspect` of a model of any task: from what was read of the data to what is measured.

use rand::Rng;
use rand::seq::index::sample;
use refrain_kernels::{Compute, Panels};
use serde::Serialize;

use super::forecast::LoadedForecaster;
use super::labels::LoadedLabeller;
use super::model::{AnyModel, LoadedModel};
use super::writers::LoadedWriter;
use crate::data::RawPairs;
use crate::data::examples::{Labels, NO_LABEL};
use crate::data::forecast::RawForecast;
use crate::data::labelled::Raw;
use crate::error::{Error, Result};
use crate::inspect::gates::{GateCounter, GateUse};
use crate::inspect::gradients::{
    LayerGradients, LayerTrace, Reach, Trace, of_labels, of_numbers, of_pair, of_text, summarise,
};
use crate::inspect::spectrum::{GateSpectrum, spectrum};
use crate::inspect::wide;
use crate::models::{
    EncoderDecoder, EncoderDecoderSpace, Forecaster, ForecasterSpace, LabelBatch, Labeller,
    LabellerSpace, LanguageModel, LanguageModelSpace, ModelConfig, Output, SequenceBatch,
    TargetBatch, TokenBatch,
};
use crate::nn::CellKind;
use crate::train::{Purpose, keyed_rng, label_gates, number_gates, pair_gates};

/// Tokens of a text that are read at once where only the gates are looked at.
const CHUNK: usize = 256;

/// What a model is to read.
#[derive(Clone, Debug)]
pub enum Material {
    /// Tokens of a text.
    Tokens(Vec<u32>),
    /// Sequences, and the name of where they come from.
    Sequences(Raw, String),
    /// Series or sequences of numbers.
    Numbers(RawForecast),
    /// Sources with targets, and the name of where they come from.
    Pairs(RawPairs, String),
}

/// What is asked about gradients.
#[derive(Clone, Debug)]
pub struct GradientOptions {
    /// How far back to look.
    pub reach: Reach,
    /// Losses, drawn from all that the data has.
    pub probes: usize,
    /// Tokens of a text, counted from 0, to look at by themselves.
    pub positions: Vec<usize>,
    /// What the draw depends on.
    pub seed: u64,
    /// Memory that is free, where it is known.
    pub available_bytes: Option<u64>,
}

/// What was found about gradients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gradients {
    /// Losses that were looked back from.
    pub probes: usize,
    /// Every layer and state.
    pub layers: Vec<LayerGradients>,
    /// The tokens that were asked for by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<PositionGradients>,
}

/// On which earlier tokens the prediction of one rests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionGradients {
    /// The token that was to be predicted, counted from 0.
    pub position: usize,
    /// Its text.
    pub token: String,
    /// Its loss.
    pub loss_nats: f64,
    /// The tokens before it: at distance 0 the one before it, at distance 1 the one before that, …
    pub tokens: Vec<String>,
    /// The norm of the gradient of each of their vectors.
    pub inputs: Vec<f64>,
    /// The norms of the gradients of the states after each of them.
    pub layers: Vec<LayerTrace>,
}

fn no_cell(model: &AnyModel, what: &str) -> Error {
    Error::Model {
        path: model.path().to_owned(),
        problem: format!("it has no recurrent layer: there {what} to look at"),
        hint: "a model with the cell rnn, gru or lstm has them".into(),
    }
}

fn wrong_material() -> Error {
    Error::Unusable {
        problem: "the data is not of the kind that the model reads".into(),
        hint: "`refrain info MODEL` tells what it was trained on".into(),
    }
}

fn nothing(what: &str) -> Error {
    Error::Unusable {
        problem: format!("the data has no {what}"),
        hint: "give data that `refrain evaluate` takes".into(),
    }
}

/// Whether a model has recurrent layers.
fn is_recurrent(config: &ModelConfig) -> bool {
    config.cell != CellKind::Mlp
}

fn check_room(needed: f64, available_bytes: Option<u64>, hint: &str) -> Result<()> {
    match available_bytes {
        Some(available_bytes) if needed > available_bytes as f64 => Err(Error::Memory {
            needed_bytes: needed as u64,
            available_bytes,
            hint: hint.into(),
        }),
        _ => Ok(()),
    }
}

/// The spectra of a model's recurrent matrices.
///
/// # Errors
/// [`Error::Model`] of a plain network; [`Error::Unusable`] as [`spectrum`].
pub fn spectra(model: &AnyModel) -> Result<Vec<GateSpectrum>> {
    if !is_recurrent(&model.config().model) {
        return Err(no_cell(model, "is no matrix"));
    }
    match model {
        AnyModel::LanguageModel(loaded) => spectrum(&loaded.model),
        AnyModel::Labeller(loaded) => spectrum(&loaded.model),
        AnyModel::Writer(loaded) => spectrum(&loaded.model),
        AnyModel::Forecaster(loaded) => spectrum(&loaded.model),
    }
}

/// How a model's gates stand while it reads: a text, or the first sequences until they have `most` steps.
///
/// # Errors
/// [`Error::Model`] of a plain network; [`Error::Unusable`] where there is nothing to read, or not what the model reads.
pub fn gates(
    model: &mut AnyModel,
    compute: &Compute,
    material: &Material,
    most: usize,
) -> Result<Vec<GateUse>> {
    if !is_recurrent(&model.config().model) {
        return Err(no_cell(model, "are no gates"));
    }
    let counter = match (model, material) {
        (AnyModel::LanguageModel(loaded), Material::Tokens(ids)) => {
            text_gates(&mut loaded.model, compute, ids)
        }
        (AnyModel::Labeller(loaded), Material::Sequences(raw, name)) => {
            let examples = loaded.encoding.encode(raw, name, false)?.examples;
            label_gates(compute, &loaded.model, &examples, most)
        }
        (AnyModel::Forecaster(loaded), Material::Numbers(raw)) => {
            let examples = loaded.encoding.encode(raw, false)?;
            number_gates(compute, &loaded.model, &examples, most)
        }
        (AnyModel::Writer(loaded), Material::Pairs(raw, name)) => {
            let examples = loaded.encoding.encode(raw, name)?.examples;
            pair_gates(compute, &loaded.model, &examples, most)
        }
        _ => return Err(wrong_material()),
    };
    let found = counter.finish();
    if found.is_empty() {
        return Err(nothing("step that the model could read"));
    }
    Ok(found)
}

/// How the gates of a language model stand over a text, read from state zero.
pub fn text_gates(model: &mut LanguageModel<f32>, compute: &Compute, ids: &[u32]) -> GateCounter {
    let mut counter = GateCounter::default();
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(1);
    for ids in ids.chunks(CHUNK) {
        let tokens = TokenBatch {
            inputs: ids,
            targets: ids,
            batch: 1,
        };
        compute.run(|| model.loss(compute, &mut space, tokens, &mut state));
        counter.add("rnn", &model.stack, space.stack());
    }
    counter
}

/// How far the gradients of single losses reach.
///
/// # Errors
/// [`Error::Model`] of a plain network; [`Error::Unusable`] where the data is too short, has no labels or is not what the model
/// reads; [`Error::Setting`] of positions that are not there; [`Error::Memory`].
pub fn gradients(
    model: &AnyModel,
    compute: &Compute,
    material: &Material,
    options: &GradientOptions,
) -> Result<Gradients> {
    if !is_recurrent(&model.config().model) {
        return Err(no_cell(model, "is no state"));
    }
    if !options.positions.is_empty() && !matches!(model, AnyModel::LanguageModel(_)) {
        return Err(Error::Setting {
            name: "positions".into(),
            found: joined(&options.positions),
            expected: format!(
                "nothing: `task {}` has no such setting",
                model.config().task
            ),
            hint: "leave it out: it is for a text, so for models of `train lm`".into(),
        });
    }
    let (traces, positions) = match (model, material) {
        (AnyModel::LanguageModel(loaded), Material::Tokens(ids)) => {
            text_gradients(loaded, compute, ids, options)?
        }
        (AnyModel::Labeller(loaded), Material::Sequences(raw, name)) => {
            let traces = label_traces(loaded, compute, (raw, name), options)?;
            (traces, Vec::new())
        }
        (AnyModel::Forecaster(loaded), Material::Numbers(raw)) => {
            (number_traces(loaded, compute, raw, options)?, Vec::new())
        }
        (AnyModel::Writer(loaded), Material::Pairs(raw, name)) => {
            let traces = pair_traces(loaded, compute, (raw, name), options)?;
            (traces, Vec::new())
        }
        _ => return Err(wrong_material()),
    };
    Ok(Gradients {
        probes: traces.len(),
        layers: summarise(&traces, options.reach.max_distance),
        positions,
    })
}

fn joined(positions: &[usize]) -> String {
    let words: Vec<String> = positions.iter().map(usize::to_string).collect();
    words.join(",")
}

/// Some of `0..count`, rising, each once; all where that is fewer.
fn draw(count: usize, wanted: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut drawn = sample(rng, count, wanted.min(count)).into_vec();
    drawn.sort_unstable();
    drawn
}

fn text_gradients(
    loaded: &LoadedModel,
    compute: &Compute,
    ids: &[u32],
    options: &GradientOptions,
) -> Result<(Vec<Trace>, Vec<PositionGradients>)> {
    let reach = options.reach;
    // The first token that has so many before it.
    let first = reach.max_distance.saturating_add(1);
    if ids.len() <= first {
        let most = ids.len().saturating_sub(2);
        return Err(Error::Unusable {
            problem: format!(
                "the data has {} tokens, too few to look back {} steps",
                ids.len(),
                reach.max_distance
            ),
            hint: if ids.len() < 2 {
                "give a text of two tokens or more".into()
            } else {
                format!("give more, or `--max-distance {most}`")
            },
        });
    }
    if let Some(&position) = options
        .positions
        .iter()
        .find(|&&at| at == 0 || at >= ids.len())
    {
        return Err(Error::Setting {
            name: "positions".into(),
            found: position.to_string(),
            expected: format!("from 1 to {}, the last token of the data", ids.len() - 1),
            hint: "tokens are counted from 0, and the first one has none before it".into(),
        });
    }
    let config = &loaded.config.model;
    let units = config.num_layers * config.hidden_size;
    let needed = reach.memory_estimate(units, loaded.vocabulary.len());
    let hint = "give a smaller `--max-distance`";
    check_room(needed, options.available_bytes, hint)?;
    let mut model = wide::language_model(&loaded.model);
    let mut rng = keyed_rng(options.seed, Purpose::Sample, 0);
    let drawn = draw(ids.len() - first, options.probes, &mut rng);
    let drawn: Vec<usize> = drawn.into_iter().map(|at| at + first).collect();
    let traces = of_text(compute, &mut model, ids, &drawn, reach);
    let text = |&id: &u32| loaded.vocabulary.token_text(id);
    let positions = of_text(compute, &mut model, ids, &options.positions, reach);
    let positions = positions.into_iter().map(|trace| PositionGradients {
        position: trace.position,
        token: text(&ids[trace.position]),
        loss_nats: trace.loss_nats,
        tokens: ids[..trace.position]
            .iter()
            .rev()
            .take(trace.inputs.len())
            .map(text)
            .collect(),
        inputs: trace.inputs,
        layers: trace.layers,
    });
    Ok((traces, positions.collect()))
}

/// Refuses a sequence whose pass in f64 would not fit.
fn check_sequence(config: &ModelConfig, steps: usize, available_bytes: Option<u64>) -> Result<()> {
    let directions = 1.0 + f64::from(u8::from(config.bidirectional));
    let units = directions * (config.num_layers * config.hidden_size) as f64;
    let needed = 8.0 * steps as f64 * (16.0 * units + 4.0 * config.embedding_size as f64);
    let hint = "leave the longest sequences out";
    check_room(needed, available_bytes, hint)
}

fn label_traces(
    loaded: &LoadedLabeller,
    compute: &Compute,
    (raw, name): (&Raw, &str),
    options: &GradientOptions,
) -> Result<Vec<Trace>> {
    let examples = loaded.encoding.encode(raw, name, true)?.examples;
    let starts = examples.starts();
    let per_step = matches!(examples.labels(), Labels::Steps(_));
    // Every loss that there is: a sequence, and the step in it.
    let losses: Vec<(usize, Option<usize>)> = match examples.labels() {
        Labels::None => Vec::new(),
        Labels::Sequences(labels) => {
            let known = labels.iter().enumerate();
            let known = known.filter(|(_, label)| **label != NO_LABEL);
            known.map(|(at, _)| (at, None)).collect()
        }
        Labels::Steps(labels) => {
            let of = |at: usize| {
                let range = examples.range(&starts, at);
                let known = labels[range].iter().enumerate();
                let known = known.filter(|(_, label)| **label != NO_LABEL);
                known.map(move |(step, _)| (at, Some(step)))
            };
            (0..examples.len()).flat_map(of).collect()
        }
    };
    if losses.is_empty() {
        let what = if per_step {
            "step with a label"
        } else {
            "label"
        };
        return Err(nothing(what));
    }
    let mut model = Labeller::zeros(
        &loaded.config.model,
        &loaded.encoding.shape(),
        super::labels::output_of(loaded.config.task),
        loaded.model.classes(),
    );
    wide::copy_numbers(&loaded.model, &mut model);
    let mut rng = keyed_rng(options.seed, Purpose::Sample, 0);
    let (mut space, mut batch) = (LabellerSpace::default(), SequenceBatch::default());
    let mut labels = LabelBatch::default();
    let mut traces = Vec::new();
    for loss in draw(losses.len(), options.probes, &mut rng) {
        let (at, step) = losses[loss];
        let steps = examples.lengths()[at];
        check_sequence(&loaded.config.model, steps, options.available_bytes)?;
        examples.fill(&[at], &starts, &mut batch);
        examples.fill_labels(&[at], &starts, &batch.steps, &[], &mut labels);
        let batch = wide::batch(&batch);
        traces.push(of_labels(
            compute, &mut model, &mut space, &batch, &labels, step,
        ));
    }
    Ok(traces)
}

fn number_traces(
    loaded: &LoadedForecaster,
    compute: &Compute,
    raw: &RawForecast,
    options: &GradientOptions,
) -> Result<Vec<Trace>> {
    let examples = loaded.encoding.encode(raw, true)?;
    let per_step = loaded.encoding.mode.output() != Output::Sequence;
    let answers = |&length: &usize| if per_step { length } else { 1 };
    let counts: Vec<usize> = examples.lengths().iter().map(answers).collect();
    let total = counts.iter().sum();
    if total == 0 {
        return Err(nothing("window with what follows it"));
    }
    let mut model = Forecaster::zeros(&loaded.config.model, &loaded.encoding.shape());
    wide::copy_numbers(&loaded.model, &mut model);
    let mut rng = keyed_rng(options.seed, Purpose::Sample, 0);
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    let mut targets = Panels::default();
    let mut traces = Vec::new();
    let (mut at, mut before) = (0, 0);
    for answer in draw(total, options.probes, &mut rng) {
        while answer >= before + counts[at] {
            before += counts[at];
            at += 1;
        }
        let steps = examples.lengths()[at];
        check_sequence(&loaded.config.model, steps, options.available_bytes)?;
        examples.fill(&[at], &mut batch);
        examples.fill_targets(&[at], &batch.steps, &mut targets);
        let (batch, targets) = (wide::batch(&batch), wide::panels(&targets));
        let step = per_step.then_some(answer - before);
        traces.push(of_numbers(
            compute, &mut model, &mut space, &batch, &targets, step,
        ));
    }
    Ok(traces)
}

fn pair_traces(
    loaded: &LoadedWriter,
    compute: &Compute,
    (raw, name): (&RawPairs, &str),
    options: &GradientOptions,
) -> Result<Vec<Trace>> {
    let examples = loaded.encoding.encode(raw, name)?.examples;
    // Every token of every target, the end included.
    let counts: Vec<usize> = (0..examples.len())
        .map(|pair| examples.lengths(pair).1)
        .collect();
    let total = counts.iter().sum();
    if total == 0 {
        return Err(nothing("sentence with its translation"));
    }
    let mut model = EncoderDecoder::zeros(
        &loaded.config.model,
        &loaded.encoding.shape(),
        super::writers::output_of(loaded.config.task),
        loaded.encoding.target.len(),
    );
    wide::copy_numbers(&loaded.model, &mut model);
    let mut rng = keyed_rng(options.seed, Purpose::Sample, 0);
    let mut space = EncoderDecoderSpace::default();
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    let mut traces = Vec::new();
    let (mut pair, mut before) = (0, 0);
    for token in draw(total, options.probes, &mut rng) {
        while token >= before + counts[pair] {
            before += counts[pair];
            pair += 1;
        }
        let (from, to) = examples.lengths(pair);
        check_sequence(&loaded.config.model, from.max(to), options.available_bytes)?;
        examples.fill(&[pair], &mut source, &mut target);
        let source = wide::batch(&source);
        let step = token - before;
        traces.push(of_pair(
            compute, &mut model, &mut space, &source, &target, step,
        ));
    }
    Ok(traces)
}
