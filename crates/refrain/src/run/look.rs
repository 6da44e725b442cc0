//! `inspect` of a model of any task: from what was read of the data to what is measured.

use rand::Rng;
use rand::seq::index::sample;
use refrain_kernels::Compute;
use serde::Serialize;

use super::model::{AnyModel, LoadedModel};
use crate::data::examples::{Examples, Labels};
use crate::data::forecast::{ForecastExamples, ForecastMode, RawForecast};
use crate::data::labelled::Raw;
use crate::data::{PairExamples, RawPairs};
use crate::error::{Error, Result};
use crate::inspect::gates::{GateCounter, GateUse};
use crate::inspect::gradients::{LayerGradients, LayerTrace, Reach, Trace, of_text, summarise};
use crate::inspect::spectrum::{GateSpectrum, spectrum};
use crate::inspect::wide;
use crate::models::{LanguageModel, LanguageModelSpace, ModelConfig, TokenBatch};
use crate::nn::CellKind;
use crate::train::{
    Purpose, SingleLoss, keyed_rng, label_gates, label_losses, label_traces, number_gates,
    number_losses, number_traces, pair_gates, pair_losses, pair_traces,
};

/// Tokens of a text that are read at once where only the gates are looked at.
const CHUNK: usize = 256;

/// What a model is to look at, as it was read from data.
#[derive(Clone, Debug)]
pub enum Material {
    /// Tokens of a text, and how many symbols of it the model does not know.
    Tokens(Vec<u32>, u64),
    /// Sequences, and the name of where they come from.
    Sequences(Raw, String),
    /// Series or sequences of numbers.
    Numbers(RawForecast),
    /// Sources with targets, and the name of where they come from.
    Pairs(RawPairs, String),
}

/// What a model looks at.
#[derive(Clone, Debug)]
pub struct Reading {
    pub(super) content: Content,
    /// Symbols or words that the model does not know.
    pub unknown: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Tokens(Vec<u32>),
    Sequences(Examples),
    Numbers(ForecastExamples),
    Pairs(PairExamples),
}

impl Reading {
    /// Makes of `material` what `model` reads, with labels or answers where those are wanted.
    ///
    /// Of a series all windows are read that have what follows them; the last one, which has not, only where it is the only one
    /// and no answer is wanted.
    ///
    /// # Errors
    /// [`Error::Unusable`] where it is of another kind or shape than the model reads, or has not what is wanted.
    pub fn new(model: &AnyModel, material: Material, labelled: bool) -> Result<Self> {
        let (content, unknown) = match (model, material) {
            (AnyModel::LanguageModel(_), Material::Tokens(ids, unknown)) => {
                (Content::Tokens(ids), unknown)
            }
            (AnyModel::Labeller(loaded), Material::Sequences(raw, name)) => {
                let encoded = loaded.encoding.encode(&raw, &name, labelled)?;
                (Content::Sequences(encoded.examples), encoded.unknown)
            }
            (AnyModel::Forecaster(loaded), Material::Numbers(raw)) => {
                let encoding = &loaded.encoding;
                let examples = match encoding.mode {
                    ForecastMode::Windows { .. } if !labelled => encoding
                        .encode(&raw, true)
                        .or_else(|_| encoding.encode(&raw, false))?,
                    _ => encoding.encode(&raw, labelled)?,
                };
                (Content::Numbers(examples), 0)
            }
            (AnyModel::Writer(loaded), Material::Pairs(raw, name)) => {
                let encoded = loaded.encoding.encode(&raw, &name)?;
                let unknown = encoded.unknown_sources + encoded.unknown_targets;
                (Content::Pairs(encoded.examples), unknown)
            }
            _ => return Err(wrong_material()),
        };
        Ok(Self { content, unknown })
    }
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
    /// Symbols or words of the data that the model does not know.
    pub unknown: u64,
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
    Error::Unusable {
        problem: format!(
            "`{}` is a plain network, without recurrent layer: there {what} to look at",
            model.path().display()
        ),
        hint: "a model with the cell rnn, gru or lstm has them".into(),
    }
}

pub(super) fn wrong_material() -> Error {
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
    reading: &Reading,
    most: usize,
) -> Result<Vec<GateUse>> {
    if !is_recurrent(&model.config().model) {
        return Err(no_cell(model, "are no gates"));
    }
    let counter = match (model, &reading.content) {
        (AnyModel::LanguageModel(loaded), Content::Tokens(ids)) => {
            text_gates(&mut loaded.model, compute, ids)
        }
        (AnyModel::Labeller(loaded), Content::Sequences(examples)) => {
            label_gates(compute, &loaded.model, examples, most)
        }
        (AnyModel::Forecaster(loaded), Content::Numbers(examples)) => {
            number_gates(compute, &loaded.model, examples, most)
        }
        (AnyModel::Writer(loaded), Content::Pairs(examples)) => {
            pair_gates(compute, &loaded.model, examples, most)
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
    reading: &Reading,
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
    let (traces, positions) = match (model, &reading.content) {
        (AnyModel::LanguageModel(loaded), Content::Tokens(ids)) => {
            text_gradients(loaded, compute, ids, options)?
        }
        (AnyModel::Labeller(loaded), Content::Sequences(examples)) => {
            let what = match examples.labels() {
                Labels::Steps(_) => "step with a label",
                Labels::None | Labels::Sequences(_) => "label",
            };
            let losses = drawn_losses(model, label_losses(examples), options, what)?;
            let model = (&loaded.model, &loaded.encoding.shape());
            let traces = label_traces(compute, model, examples, &losses);
            (traces, Vec::new())
        }
        (AnyModel::Forecaster(loaded), Content::Numbers(examples)) => {
            let losses = number_losses(&loaded.model, examples);
            let losses = drawn_losses(model, losses, options, "window with what follows it")?;
            let traces = number_traces(compute, &loaded.model, examples, &losses);
            (traces, Vec::new())
        }
        (AnyModel::Writer(loaded), Content::Pairs(examples)) => {
            let losses = pair_losses(examples);
            let losses = drawn_losses(model, losses, options, "sentence with its translation")?;
            let model = (&loaded.model, &loaded.encoding.shape());
            let traces = pair_traces(compute, model, examples, &losses);
            (traces, Vec::new())
        }
        _ => return Err(wrong_material()),
    };
    Ok(Gradients {
        probes: traces.len(),
        unknown: reading.unknown,
        layers: summarise(&traces, options.reach.max_distance),
        positions,
    })
}

/// Some of all losses, each of which fits into memory.
fn drawn_losses(
    model: &AnyModel,
    losses: Vec<SingleLoss>,
    options: &GradientOptions,
    what: &str,
) -> Result<Vec<SingleLoss>> {
    if losses.is_empty() {
        return Err(nothing(what));
    }
    let mut rng = keyed_rng(options.seed, Purpose::Sample, 0);
    let drawn = draw(losses.len(), options.probes, &mut rng);
    let drawn: Vec<_> = drawn.into_iter().map(|at| losses[at]).collect();
    for loss in &drawn {
        check_sequence(&model.config().model, loss.rows, options.available_bytes)?;
    }
    Ok(drawn)
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
