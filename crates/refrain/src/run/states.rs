//! What a model holds in its layers while it reads: hidden states, cell states, gates.

use ndarray::Array2;
use refrain_kernels::{Compute, Panels};

use super::forecast::LoadedForecaster;
use super::labels::LoadedLabeller;
use super::look::{Content, Reading, wrong_material};
use super::model::{AnyModel, LoadedModel};
use super::writers::LoadedWriter;
use crate::data::examples::Examples;
use crate::data::forecast::ForecastExamples;
use crate::data::{NpzWriter, PairExamples};
use crate::error::{Error, Result};
use crate::models::{
    Body, DecoderBody, EncoderDecoderSpace, ForecasterSpace, LabellerSpace, LanguageModelSpace,
    ModelConfig, SequenceBatch, TargetBatch, TokenBatch, rows_of,
};
use crate::nn::{CellKind, Direction, Stack, StackSpace, Steps};
use crate::train::scoring_batches;

/// An array over sequences and steps, zero past the end of a sequence.
struct Padded {
    name: String,
    units: usize,
    values: Vec<f32>,
}

/// States of several sequences, layer by layer, as they will stand in a file.
struct States {
    /// What the names in the file begin with.
    owner: &'static str,
    lengths: Vec<usize>,
    /// The greatest length.
    steps: usize,
    arrays: Vec<Padded>,
}

impl States {
    fn new(owner: &'static str, lengths: Vec<usize>) -> Self {
        Self {
            owner,
            steps: longest(&lengths),
            lengths,
            arrays: Vec::new(),
        }
    }

    /// Room for an array, made where it is first asked for.
    fn array(&mut self, name: &str, units: usize) -> &mut Padded {
        let at = self.arrays.iter().position(|array| array.name == name);
        let at = at.unwrap_or_else(|| {
            self.arrays.push(Padded {
                name: name.into(),
                units,
                values: vec![0.0; self.lengths.len() * self.steps * units],
            });
            self.arrays.len() - 1
        });
        &mut self.arrays[at]
    }

    /// Puts the rows of a batch into their places.
    fn put(
        &mut self,
        name: &str,
        units: usize,
        rows: &Rows<'_>,
        value: impl Fn(usize, usize) -> f32,
    ) {
        let steps = self.steps;
        let array = self.array(name, units);
        for (row, (place, t)) in rows_of(rows.steps).enumerate() {
            let to = (rows.sequences[place] * steps + t) * units;
            for (unit, slot) in array.values[to..to + units].iter_mut().enumerate() {
                *slot = value(row, unit);
            }
        }
    }

    /// The states of all layers after a forward pass.
    fn add(&mut self, stack: &Stack<f32>, space: &StackSpace<f32>, rows: &Rows<'_>) {
        let ways: &[(Direction, &str)] = if stack.is_bidirectional() {
            &[(Direction::Forward, ""), (Direction::Reverse, "_reverse")]
        } else {
            &[(Direction::Forward, "")]
        };
        let units = stack.hidden_size();
        for layer in 0..stack.num_layers() {
            for &(way, suffix) in ways {
                let named = |kind: &str| format!("{kind}_l{layer}{suffix}");
                let panels = |panels: &Panels<f32>| {
                    let panels = panels.clone();
                    move |row, unit| panels.get(row, unit)
                };
                let hidden = space.hidden(layer, way);
                self.put(&named("h"), units, rows, panels(&hidden));
                let cells = space.cells(layer, way);
                if cells.rows() > 0 {
                    self.put(&named("c"), units, rows, panels(&cells));
                }
                for (gate, values) in stack.gates(space, layer, way) {
                    // Of the vanilla cell the only gate is the state itself.
                    if gate != "h" {
                        let values: Array2<f32> = values;
                        self.put(&named(gate), units, rows, |row, unit| values[(row, unit)]);
                    }
                }
            }
        }
    }

    fn write(&self, npz: &mut NpzWriter) -> Result<()> {
        let count = self.lengths.len();
        let named = |name: &str| format!("{}{name}", self.owner);
        let lengths: Vec<i64> = self.lengths.iter().map(|&length| length as i64).collect();
        npz.add_i64(&named("lengths"), &[count], &lengths)?;
        for array in &self.arrays {
            let shape = [count, self.steps, array.units];
            npz.add_f32(&named(&array.name), &shape, &array.values)?;
        }
        Ok(())
    }
}

/// The bytes of an `.npz` file with these states.
fn file(parts: &[States]) -> Result<Vec<u8>> {
    let mut npz = NpzWriter::new();
    for part in parts {
        part.write(&mut npz)?;
    }
    npz.finish()
}

fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().max().unwrap_or(0)
}

/// Where the rows of a batch belong.
struct Rows<'a> {
    steps: &'a Steps,
    /// For each place in the batch, the sequence that stands there.
    sequences: &'a [usize],
}

fn no_states(path: &std::path::Path) -> Error {
    Error::Unusable {
        problem: format!(
            "`{}` is a plain network (`cell mlp`): it has no states",
            path.display()
        ),
        hint: "a model with the cell rnn, gru or lstm has them".into(),
    }
}

/// Refuses what would not fit: one long sequence pads all others.
fn check_room(
    config: &ModelConfig,
    parts: &[(&Stack<f32>, &[usize])],
    available_bytes: Option<u64>,
) -> Result<()> {
    let arrays = match config.cell {
        CellKind::Lstm => 6.0,
        CellKind::Gru => 4.0,
        CellKind::Rnn | CellKind::Mlp => 1.0,
    };
    let numbers = |(stack, lengths): &(&Stack<f32>, &[usize])| {
        let ways = if stack.is_bidirectional() { 2.0 } else { 1.0 };
        let units = ways * (stack.num_layers() * stack.hidden_size()) as f64;
        arrays * units * lengths.len() as f64 * longest(lengths) as f64
    };
    // The arrays, and the file made of them.
    let needed = 2.0 * 4.0 * parts.iter().map(numbers).sum::<f64>();
    match available_bytes {
        Some(available_bytes) if needed > available_bytes as f64 => Err(Error::Memory {
            needed_bytes: needed as u64,
            available_bytes,
            hint: "give fewer by `--max`, or leave the longest sequences out".into(),
        }),
        _ => Ok(()),
    }
}

/// The states of a model while it reads, of no more than `most` sequences: an `.npz` file's bytes. A text is read from state
/// zero; a decoder is given each target.
///
/// # Errors
/// [`Error::Unusable`] of a plain network, where the reading is of another kind of model, or has no token; [`Error::Memory`]
/// where the states would take more than `available_bytes`.
pub fn states(
    model: &mut AnyModel,
    compute: &Compute,
    reading: &Reading,
    most: usize,
    available_bytes: Option<u64>,
) -> Result<Vec<u8>> {
    match (model, &reading.content) {
        (AnyModel::LanguageModel(loaded), Content::Tokens(ids)) => {
            of_text(loaded, compute, ids, available_bytes)
        }
        (AnyModel::Labeller(loaded), Content::Sequences(examples)) => {
            of_sequences(loaded, compute, examples, available_bytes)
        }
        (AnyModel::Forecaster(loaded), Content::Numbers(examples)) => {
            of_numbers(loaded, compute, examples, most, available_bytes)
        }
        (AnyModel::Writer(loaded), Content::Pairs(examples)) => {
            of_pairs(loaded, compute, examples, most, available_bytes)
        }
        _ => Err(wrong_material()),
    }
}

fn of_text(
    loaded: &mut LoadedModel,
    compute: &Compute,
    ids: &[u32],
    available_bytes: Option<u64>,
) -> Result<Vec<u8>> {
    if loaded.model.feed_forward.is_some() {
        return Err(no_states(&loaded.path));
    }
    if ids.is_empty() {
        return Err(Error::Unusable {
            problem: "the text has no token that the model knows".into(),
            hint: "give a text of one token or more".into(),
        });
    }
    let lengths = vec![ids.len()];
    let model = &mut loaded.model;
    let room = [(&model.stack, &lengths[..])];
    check_room(&loaded.config.model, &room, available_bytes)?;
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(1);
    let tokens = TokenBatch {
        inputs: ids,
        targets: ids,
        batch: 1,
    };
    compute.run(|| model.loss(compute, &mut space, tokens, &mut state));
    let steps = Steps::uniform(ids.len(), 1);
    let rows = Rows {
        steps: &steps,
        sequences: &[0],
    };
    let mut states = States::new("", lengths);
    states.add(&model.stack, space.stack(), &rows);
    file(&[states])
}

fn of_sequences(
    loaded: &LoadedLabeller,
    compute: &Compute,
    examples: &Examples,
    available_bytes: Option<u64>,
) -> Result<Vec<u8>> {
    let Body::Recurrent(stack) = &loaded.model.encoder.body else {
        return Err(no_states(&loaded.path));
    };
    let (starts, lengths) = (examples.starts(), examples.lengths().to_vec());
    let room = [(stack, &lengths[..])];
    check_room(&loaded.config.model, &room, available_bytes)?;
    let mut states = States::new("", lengths);
    let mut space = LabellerSpace::default();
    let mut batch = SequenceBatch::default();
    loaded.model.pack(&mut space, false);
    for chosen in scoring_batches(examples) {
        examples.fill(&chosen, &starts, &mut batch);
        compute.run(|| loaded.model.scores(compute, &mut space, &batch, None));
        let rows = Rows {
            steps: &batch.steps,
            sequences: &chosen,
        };
        states.add(stack, space.encoder.stack(), &rows);
    }
    file(&[states])
}

fn of_numbers(
    loaded: &LoadedForecaster,
    compute: &Compute,
    examples: &ForecastExamples,
    most: usize,
    available_bytes: Option<u64>,
) -> Result<Vec<u8>> {
    let Body::Recurrent(stack) = &loaded.model.encoder.body else {
        return Err(no_states(&loaded.path));
    };
    let lengths = examples.lengths();
    let lengths = lengths[..lengths.len().min(most)].to_vec();
    let room = [(stack, &lengths[..])];
    check_room(&loaded.config.model, &room, available_bytes)?;
    let count = lengths.len();
    let mut states = States::new("", lengths);
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    loaded.model.pack(&mut space, false);
    for at in 0..count {
        examples.fill(&[at], &mut batch);
        compute.run(|| loaded.model.answer(compute, &mut space, &batch, None));
        let rows = Rows {
            steps: &batch.steps,
            sequences: &[at],
        };
        states.add(stack, space.encoder.stack(), &rows);
    }
    file(&[states])
}

fn of_pairs(
    loaded: &LoadedWriter,
    compute: &Compute,
    examples: &PairExamples,
    most: usize,
    available_bytes: Option<u64>,
) -> Result<Vec<u8>> {
    let model = &loaded.model;
    // A picture's encoder has no recurrent layer.
    let encoder = match &model.encoder.body {
        Body::Recurrent(stack) => Some(stack),
        Body::FeedForward(..) | Body::Direct => None,
    };
    let DecoderBody::Recurrent(_, decoder) = &model.decoder.body else {
        return Err(no_states(&loaded.path));
    };
    let count = examples.len().min(most);
    let (sources, targets): (Vec<usize>, Vec<usize>) =
        (0..count).map(|pair| examples.lengths(pair)).unzip();
    let mut room = vec![(decoder, &targets[..])];
    room.extend(encoder.map(|stack| (stack, &sources[..])));
    check_room(&loaded.config.model, &room, available_bytes)?;
    let mut read = encoder.map(|stack| (stack, States::new("encoder.", sources)));
    let mut written = States::new("decoder.", targets);
    let mut space = EncoderDecoderSpace::default();
    let (mut source, mut target) = (SequenceBatch::default(), TargetBatch::default());
    model.pack(&mut space, false);
    for pair in 0..count {
        examples.fill(&[pair], &mut source, &mut target);
        compute.run(|| model.loss(compute, &mut space, &source, &target));
        let sequences = &[pair];
        let rows = |steps| Rows { steps, sequences };
        if let Some((stack, states)) = &mut read {
            states.add(stack, space.encoder.stack(), &rows(&source.steps));
        }
        written.add(decoder, space.decoder.stack(), &rows(&target.steps));
    }
    let mut parts: Vec<States> = read.map(|(_, states)| states).into_iter().collect();
    parts.push(written);
    file(&parts)
}
