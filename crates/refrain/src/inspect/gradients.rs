//! How far gradients reach: the norm of `d loss_t / d h_(t-k)` against `k`, the loss of one step alone.
//!
//! A loss over many steps would mix what came a short way with what came a long one. So the loss of a single step is carried
//! back, and the gradient of every state before it is kept: the whole derivative, through the layer's own later steps and
//! through the layers above. That of an LSTM's cell state also goes through the hidden state of its own step, as in
//! PyTorch's `c_t.grad` of a loop over an `LSTMCell`.
//!
//! # References
//! Bengio, Simard and Frasconi, "Learning long-term dependencies with gradient descent is difficult", 1994; Pascanu, Mikolov
//! and Bengio, "On the difficulty of training recurrent neural networks", 2013.

use refrain_kernels::{Compute, Panels};
use serde::{Deserialize, Serialize};

use super::named_layers;
use crate::models::{
    Body, DecoderBody, Encoder, EncoderDecoder, EncoderDecoderSpace, EncoderSpace, Forecaster,
    ForecasterSpace, LabelBatch, Labeller, LabellerSpace, LanguageModel, SequenceBatch,
    TargetBatch,
};
use crate::nn::{
    Direction, InputGradient, LayerInput, Linear, PackedLinear, SoftmaxCrossEntropy, Stack,
    StackSpace, StackState, Steps,
};

/// Steps that a warm-up takes at once.
const WARM_UP_CHUNK: usize = 64;
/// Rows over time that a batch of probes may have, and probes.
const PROBE_ROWS: usize = 1024;
const PROBES: usize = 16;

/// Which state of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateKind {
    /// The hidden state.
    #[serde(rename = "h")]
    Hidden,
    /// The cell state of an LSTM.
    #[serde(rename = "c")]
    Cell,
}

impl StateKind {
    /// Its letter in the equations.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Hidden => "h",
            Self::Cell => "c",
        }
    }
}

/// The gradient of one step's loss with respect to a layer's earlier states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerTrace {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// Which state.
    pub state: StateKind,
    /// The Euclidean norm at distance 0, 1, 2, …: at the step of the loss, the one before it, …; of a reverse layer, whose
    /// earlier states stand at later steps, the one after it.
    pub norms: Vec<f64>,
}

/// One step's loss, and its gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The token that was to be predicted, counted from 0, or the step whose loss it is.
    pub position: usize,
    /// The loss.
    pub loss_nats: f64,
    /// Every layer's states.
    pub layers: Vec<LayerTrace>,
    /// The norm of the gradient of what the first layer read at distance 0, 1, 2, …; empty where it is not asked for.
    pub inputs: Vec<f64>,
}

/// Gradients of a layer's states over many losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerGradients {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// Which state.
    pub state: StateKind,
    /// Steps between the loss and the state: 0, 1, 2, …
    pub distance: Vec<usize>,
    /// The mean of the norms at each distance.
    pub mean: Vec<f64>,
    /// Their median.
    pub median: Vec<f64>,
    /// A quarter of them is less.
    pub q25: Vec<f64>,
    /// A quarter of them is more.
    pub q75: Vec<f64>,
    /// How many losses reach back so far.
    pub count: Vec<usize>,
    /// Steps from where the median is greatest to where it is half of that, between distances by a straight line, within the
    /// distances that at least half of the losses reach; none where it does not fall so far.
    pub half_life: Option<f64>,
}

/// How far back to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The greatest distance.
    pub max_distance: usize,
    /// Tokens that are read, from state zero, before the first state that is looked at.
    pub warm_up: usize,
}

impl Reach {
    /// Numbers of f64 that a batch of probes holds, for `units` hidden units of all layers.
    #[must_use]
    pub fn memory_estimate(self, units: usize, vocab_size: usize) -> f64 {
        let steps = (self.max_distance as f64 + 1.0).max(WARM_UP_CHUNK as f64);
        let rows = steps.max(PROBE_ROWS as f64);
        // Gates, states, their gradients, what lies between the layers.
        8.0 * (rows * 16.0 * units as f64 + 4.0 * (PROBES * vocab_size) as f64)
    }
}

/// The value below which a part `at` of sorted numbers lies, between two of them by a straight line.
///
/// # Panics
/// If there is no number.
pub(super) fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (below, rest) = (place as usize, place - place.floor());
    match sorted.get(below + 1) {
        Some(above) if rest > 0.0 => sorted[below] * (1.0 - rest) + above * rest,
        _ => sorted[below],
    }
}

/// Puts the traces of many losses together: every distance up to `max_distance` that some loss reaches.
#[must_use]
pub fn summarise(traces: &[Trace], max_distance: usize) -> Vec<LayerGradients> {
    let layers = traces.first().map_or(0, |trace| trace.layers.len());
    let summary = |layer: usize| {
        let of = |trace: &'_ Trace| trace.layers[layer].norms.len();
        let reach = traces.iter().map(of).max().unwrap_or(0);
        let first = &traces[0].layers[layer];
        let mut found = LayerGradients {
            name: first.name.clone(),
            state: first.state,
            distance: Vec::new(),
            mean: Vec::new(),
            median: Vec::new(),
            q25: Vec::new(),
            q75: Vec::new(),
            count: Vec::new(),
            half_life: None,
        };
        for distance in 0..reach.min(max_distance.saturating_add(1)) {
            let norms = traces
                .iter()
                .filter_map(|trace| trace.layers[layer].norms.get(distance));
            let mut norms: Vec<f64> = norms.copied().collect();
            norms.sort_by(f64::total_cmp);
            found.distance.push(distance);
            found
                .mean
                .push(norms.iter().sum::<f64>() / norms.len() as f64);
            found.median.push(quantile(&norms, 0.5));
            found.q25.push(quantile(&norms, 0.25));
            found.q75.push(quantile(&norms, 0.75));
            found.count.push(norms.len());
        }
        // Few losses that reach farther than the others are no measure of these.
        let common = found.count.iter();
        let common = common.take_while(|&&count| 2 * count >= traces.len());
        found.half_life = half_life(&found.median[..common.count()]);
        found
    };
    (0..layers).map(summary).collect()
}

/// Steps from the greatest of the values to where they are first half of it, by a straight line between neighbours.
///
/// # Examples
///
/// ```
/// use refrain::inspect::gradients::half_life;
///
/// assert_eq!(half_life(&[1.0, 4.0, 3.0, 1.0, 0.5]), Some(1.5));
/// assert_eq!(half_life(&[1.0, 0.9, 0.8]), None);
/// ```
#[must_use]
pub fn half_life(values: &[f64]) -> Option<f64> {
    let mut peak = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[peak] {
            peak = at;
        }
    }
    let half = values.get(peak)? / 2.0;
    let falls = |at: &usize| values[*at] <= half;
    // Of values that are all zero nothing is half.
    let below = (peak + 1..values.len())
        .find(falls)
        .filter(|_| half > 0.0)?;
    let (before, after) = (values[below - 1], values[below]);
    let part = (before - half) / (before - after);
    Some((below - 1 - peak) as f64 + part)
}

/// The Euclidean norm of a row, without underflow: of gradients that have vanished squares would be zero.
fn norm(panels: &Panels<f64>, row: usize) -> f64 {
    let values = || (0..panels.columns()).map(|unit| panels.get(row, unit));
    let greatest = values().map(f64::abs).fold(0.0, f64::max);
    if greatest == 0.0 || !greatest.is_finite() {
        return greatest;
    }
    let squares: f64 = values()
        .map(|value| (value / greatest) * (value / greatest))
        .sum();
    greatest * squares.sqrt()
}

/// From where distances are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// From the step of the loss, whichever way a layer reads.
    Step(usize),
    /// From the last step that a layer reads.
    End,
}

/// The traces of a stack's layers after a backward pass, for one sequence of `length` steps; `row_of` tells where its steps
/// stand, and `scale` undoes what the loss was divided by.
fn layer_traces(
    owner: &str,
    stack: &Stack<f64>,
    space: &StackSpace<f64>,
    (length, origin): (usize, Origin),
    row_of: impl Fn(usize) -> usize,
    scale: f64,
) -> Vec<LayerTrace> {
    let mut traces = Vec::new();
    for (layer, way, name) in named_layers(owner, stack) {
        let steps: Vec<usize> = match (way, origin) {
            (Direction::Forward, Origin::Step(at)) => (0..=at).rev().collect(),
            (Direction::Forward, Origin::End) => (0..length).rev().collect(),
            (Direction::Reverse, Origin::Step(at)) => (at..length).collect(),
            (Direction::Reverse, Origin::End) => (0..length).collect(),
        };
        let gradients = space.state_gradients(layer, way);
        for (state, gradients) in [
            (StateKind::Hidden, &gradients.h),
            (StateKind::Cell, &gradients.c),
        ] {
            if gradients.rows() > 0 {
                let norms = steps.iter().map(|&t| scale * norm(gradients, row_of(t)));
                traces.push(LayerTrace {
                    name: name.clone(),
                    state,
                    norms: norms.collect(),
                });
            }
        }
    }
    traces
}

/// Looks back from tokens of a text.
struct TextProbe<'m> {
    model: &'m mut LanguageModel<f64>,
    steps: Steps,
    x: Panels<f64>,
    stack: StackSpace<f64>,
    linear: PackedLinear<f64>,
    loss: SoftmaxCrossEntropy,
}

impl TextProbe<'_> {
    fn forward(
        &mut self,
        compute: &Compute,
        tokens: &[u32],
        batch: usize,
        state: &mut StackState<f64>,
    ) {
        self.steps.set_uniform(tokens.len() / batch, batch);
        // A row each and no table: the gradient of each is wanted by itself.
        self.model.embedding.forward(tokens, &mut self.x);
        let input = LayerInput::Features(&self.x);
        self.model
            .stack
            .forward(compute, &mut self.stack, &self.steps, input, state, None);
    }

    /// The traces from tokens before which equally many others are read: `warm_up` of them first, then `span`.
    fn traces(
        &mut self,
        compute: &Compute,
        ids: &[u32],
        positions: &[usize],
        (warm_up, span): (usize, usize),
    ) -> Vec<Trace> {
        let batch = positions.len();
        let tokens = |from: usize, to: usize| -> Vec<u32> {
            let steps = from..to;
            let step = |t| positions.iter().map(move |at| ids[at - span - warm_up + t]);
            steps.flat_map(step).collect()
        };
        let mut state = self.model.stack.zero_state(batch);
        for from in (0..warm_up).step_by(WARM_UP_CHUNK) {
            let tokens = tokens(from, warm_up.min(from + WARM_UP_CHUNK));
            self.forward(compute, &tokens, batch, &mut state);
        }
        self.forward(compute, &tokens(warm_up, warm_up + span), batch, &mut state);
        let targets: Vec<u32> = positions.iter().map(|&at| ids[at]).collect();
        let d_top = self.last_loss(compute, batch, &targets);
        let mut d_output = Panels::new(self.steps.rows(), d_top.columns());
        d_output.copy_rows((span - 1) * batch, &d_top, 0, batch);
        let mut d_x = Panels::default();
        self.model.stack.backward(
            compute,
            &mut self.stack,
            &self.steps,
            LayerInput::Features(&self.x),
            &d_output,
            None,
            None,
            InputGradient::Into(&mut d_x),
        );
        let scale = batch as f64;
        let trace = |(b, &position): (usize, &usize)| {
            let row_of = |t: usize| t * batch + b;
            let ends = (span, Origin::End);
            let steps = (0..span).rev();
            Trace {
                position,
                loss_nats: self.loss.losses()[b],
                layers: layer_traces("rnn", &self.model.stack, &self.stack, ends, row_of, scale),
                inputs: steps.map(|t| scale * norm(&d_x, row_of(t))).collect(),
            }
        };
        positions.iter().enumerate().map(trace).collect()
    }

    /// The mean loss of the last step's tokens: the gradient of what the linear layer read.
    fn last_loss(&mut self, compute: &Compute, batch: usize, targets: &[u32]) -> Panels<f64> {
        let output = self.stack.output();
        let (mut top, mut logits, mut d_top) = (
            Panels::new(batch, output.columns()),
            Panels::default(),
            Panels::default(),
        );
        top.copy_rows(0, output, output.rows() - batch, batch);
        let linear: &mut Linear<f64> = &mut self.model.linear;
        linear.forward(compute, &self.linear, &top, &mut logits);
        self.loss.forward_backward(compute, &mut logits, targets);
        let steps = Steps::uniform(1, batch);
        linear.backward(compute, &mut self.linear, &steps, &top, &logits, &mut d_top);
        d_top
    }
}

/// Looks back from tokens of a text: for each of `positions` the gradients of the loss of that token alone. The text is read
/// from `reach` before it on, from state zero; from its beginning where that is nearer.
///
/// Nothing of a plain network.
///
/// # Panics
/// If a token is not in the vocabulary, or a position is 0 or past the end.
#[must_use]
pub fn of_text(
    compute: &Compute,
    model: &mut LanguageModel<f64>,
    ids: &[u32],
    positions: &[usize],
    reach: Reach,
) -> Vec<Trace> {
    if model.feed_forward.is_some() {
        return Vec::new();
    }
    assert!(
        positions.iter().all(|&at| at > 0 && at < ids.len()),
        "positions of {} tokens",
        ids.len()
    );
    let read = |position: usize| {
        let span = position.min(reach.max_distance.saturating_add(1));
        ((position - span).min(reach.warm_up), span)
    };
    let rows = reach.max_distance.saturating_add(1);
    let probes = (PROBE_ROWS / rows).clamp(1, PROBES);
    let mut probe = TextProbe {
        steps: Steps::default(),
        x: Panels::default(),
        stack: StackSpace::default(),
        linear: PackedLinear::default(),
        loss: SoftmaxCrossEntropy::default(),
        model,
    };
    probe.stack.keep_state_gradients();
    probe.model.stack.pack(&mut probe.stack, true);
    probe.model.linear.pack(&mut probe.linear, true);
    let mut traces = Vec::new();
    compute.run(|| {
        for alike in positions.chunk_by(|&a, &b| read(a) == read(b)) {
            for positions in alike.chunks(probes) {
                traces.extend(probe.traces(compute, ids, positions, read(positions[0])));
            }
        }
    });
    traces
}

/// The traces of an encoder's layers after a backward pass over one sequence.
fn encoder_traces(
    owner: &str,
    encoder: &Encoder<f64>,
    space: &EncoderSpace<f64>,
    length: usize,
    origin: Origin,
) -> Vec<LayerTrace> {
    match &encoder.body {
        Body::Recurrent(stack) => {
            let ends = (length, origin);
            layer_traces(owner, stack, space.stack(), ends, |t| t, 1.0)
        }
        Body::FeedForward(..) | Body::Direct => Vec::new(),
    }
}

/// Looks back from a labelled sequence: the gradients of the loss of its label, or of the label of step `step` alone.
///
/// Of a sequence's one label distances are counted from the last step that a layer reads. Nothing of a plain network.
///
/// # Panics
/// If the batch is not one sequence that the model was made for, or it has not such labels.
#[must_use]
pub fn of_labels(
    compute: &Compute,
    model: &mut Labeller<f64>,
    space: &mut LabellerSpace<f64>,
    batch: &SequenceBatch<f64>,
    labels: &LabelBatch,
    step: Option<usize>,
) -> Trace {
    assert_eq!(batch.steps.batch(), 1, "one sequence");
    let length = batch.steps.len();
    let (at, origin) = match step {
        Some(step) => (step, Origin::Step(step)),
        None => (0, Origin::End),
    };
    let mut labels = labels.clone();
    labels.weights.fill(0.0);
    labels.weights[at] = 1.0;
    space.encoder.stack_mut().keep_state_gradients();
    let loss_nats = compute.run(|| model.loss_and_gradients(compute, space, batch, &labels, None));
    Trace {
        position: step.unwrap_or(length - 1),
        loss_nats,
        layers: encoder_traces("rnn", &model.encoder, &space.encoder, length, origin),
        inputs: Vec::new(),
    }
}

/// Looks back from an answer to a window, or, where the model answers at every step, from that of step `step` alone.
///
/// Of a window distances are counted from its last step. Nothing of a plain network.
///
/// # Panics
/// If the batch is not one window or sequence that the model was made for, or there is no such step.
#[must_use]
pub fn of_numbers(
    compute: &Compute,
    model: &mut Forecaster<f64>,
    space: &mut ForecasterSpace<f64>,
    batch: &SequenceBatch<f64>,
    targets: &Panels<f64>,
    step: Option<usize>,
) -> Trace {
    assert_eq!(batch.steps.batch(), 1, "one sequence");
    let length = batch.steps.len();
    let (row, origin) = match step {
        Some(step) => (step, Origin::Step(step)),
        None => (0, Origin::End),
    };
    space.encoder.stack_mut().keep_state_gradients();
    let loss_nats =
        compute.run(|| model.answer_loss_and_gradients(compute, space, batch, targets, row));
    Trace {
        position: step.unwrap_or(length - 1),
        loss_nats,
        layers: encoder_traces("rnn", &model.encoder, &space.encoder, length, origin),
        inputs: Vec::new(),
    }
}

/// Looks back from token `step` of a target, to the decoder's earlier states and on to the encoder's.
///
/// The encoder's distances are counted from the last step that a layer reads. Nothing of plain networks.
///
/// # Panics
/// If the batch is not one pair that the model was made for, or its target has no such token.
#[must_use]
pub fn of_pair(
    compute: &Compute,
    model: &mut EncoderDecoder<f64>,
    space: &mut EncoderDecoderSpace<f64>,
    source: &SequenceBatch<f64>,
    target: &TargetBatch,
    step: usize,
) -> Trace {
    assert_eq!(
        (source.steps.batch(), target.steps.batch()),
        (1, 1),
        "one pair"
    );
    space.encoder.stack_mut().keep_state_gradients();
    space.decoder.stack_mut().keep_state_gradients();
    let loss_nats =
        compute.run(|| model.token_loss_and_gradients(compute, space, source, target, step));
    let length = source.steps.len();
    let (encoder, end) = (&model.encoder, Origin::End);
    let mut layers = encoder_traces("encoder.rnn", encoder, &space.encoder, length, end);
    if let DecoderBody::Recurrent(_, stack) = &model.decoder.body {
        let ends = (target.steps.len(), Origin::Step(step));
        let space = space.decoder.stack();
        layers.extend(layer_traces("decoder.rnn", stack, space, ends, |t| t, 1.0));
    }
    Trace {
        position: step,
        loss_nats,
        layers,
        inputs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        let found = [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| quantile(&sorted, at));
        assert_eq!(found, [1.0, 1.75, 3.0, 5.0, 8.0]);
        assert_eq!(quantile(&[3.0], 0.75), 3.0);
    }

    #[test]
    fn losses_of_few_do_not_make_the_half_life() {
        let trace = |norms: &[f64]| Trace {
            position: 0,
            loss_nats: 0.0,
            layers: vec![LayerTrace {
                name: "rnn_l0".into(),
                state: StateKind::Hidden,
                norms: norms.to_vec(),
            }],
            inputs: Vec::new(),
        };
        let near = trace(&[1.0, 0.8]);
        let far = trace(&[1.0, 0.8, 0.1]);
        let found = &summarise(&[near.clone(), near.clone(), far.clone()], 9)[0];
        assert_eq!(found.count, [3, 3, 1]);
        assert_eq!((found.median[2], found.half_life), (0.1, None));
        let found = &summarise(&[near, far.clone(), far], 9)[0];
        assert!((found.half_life.unwrap() - 10.0 / 7.0 * 0.3 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_half_life_is_where_half_is_reached() {
        assert_eq!(half_life(&[8.0, 4.0, 2.0]), Some(1.0));
        assert_eq!(half_life(&[1.0, 2.0, 1.5, 0.5]), Some(1.5));
        assert_eq!(half_life(&[0.0, 0.0]), None);
        assert_eq!(half_life(&[1.0]), None);
        assert_eq!(half_life(&[]), None);
    }

    #[test]
    fn a_norm_does_not_underflow() {
        let mut panels = Panels::new(1, 2);
        panels.set(0, 0, 3e-200);
        panels.set(0, 1, -4e-200);
        assert!((norm(&panels, 0) / 5e-200 - 1.0).abs() < 1e-15);
        assert_eq!(norm(&Panels::new(1, 2), 0), 0.0);
    }
}
