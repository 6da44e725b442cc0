//! Gradients along the cell state and through the hidden state.

use ndarray::{Array2, Array3};
use refrain_kernels::{Cell, GruCell, LstmCell, RnnCell};

use super::super::flow::{Begin, Flow, Path, directions, flow, forward, gates, inputs, widened};
use super::super::problems::ProblemTask;
use super::solved::Solved;
use super::{CELLS, Conditions};
use crate::error::Result;
use crate::nn::{CellKind, Init, Layer, Lstm, Recurrent};
use crate::train::{Purpose, keyed_rng};

/// The gradient against distance of one cell.
#[derive(Clone, Debug)]
pub(super) struct CellFlow {
    pub(super) cell: CellKind,
    pub(super) way: Way,
    pub(super) when: &'static str,
    pub(super) norms: Vec<f64>,
}

/// Which gradient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Of h, which is all that the cell has.
    Hidden,
    /// Of c, along c alone: what comes back through h is cut off.
    AlongC,
    /// Of c, through all paths.
    All,
}

/// What is followed in a cell.
pub(super) fn ways(cell: CellKind) -> &'static [Way] {
    match cell {
        CellKind::Lstm => &[Way::AlongC, Way::All],
        _ => &[Way::Hidden],
    }
}

/// The gradient along c with the forget gate so and so.
#[derive(Clone, Debug)]
pub(super) struct GateFlow {
    pub(super) said: String,
    pub(super) mean: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    pub(super) norms: Vec<f64>,
}

/// All curves.
#[derive(Clone, Debug, Default)]
pub(super) struct Along {
    pub(super) cells: Vec<CellFlow>,
    pub(super) gates: Vec<GateFlow>,
}

/// Both sides of the equation.
#[derive(Clone, Debug, Default)]
pub(super) struct Sides {
    /// dL/dc_t, f, their product, dL/dc_(t-1) by the layer: of a few units at one step.
    pub(super) shown: Vec<[f64; 4]>,
    /// The greatest difference, in parts of the greatest gradient of the step.
    pub(super) off: f64,
    /// The greatest gradient before the first step.
    pub(super) largest: f64,
    pub(super) steps: usize,
}

/// Units that are printed.
const UNITS: usize = 4;
/// Units of the cells that are not trained, and steps that are followed in them.
const HIDDEN: usize = 32;
const STEPS: usize = 30;

fn random(conditions: &Conditions<'_>, number: u64) -> rand_chacha::ChaCha12Rng {
    keyed_rng(conditions.seed, Purpose::Weights, 100 + number)
}

/// What a trained network's lowest layer reads of one sequence, `(seq_len, 1, input_size)`.
fn read_by(task: &ProblemTask) -> Array3<f64> {
    let vectors = task.vectors(0);
    let size = vectors.first().map_or(0, Vec::len);
    Array3::from_shape_fn((vectors.len(), 1, size), |(t, _, k)| vectors[t][k])
}

/// The norms of a gradient of norm 1 at the last state of one sequence, against the distance.
fn of_layer(
    conditions: &Conditions<'_>,
    layer: &Layer<f64>,
    x: &Array3<f64>,
    way: Way,
) -> Result<Vec<f64>> {
    fn run<C: Cell>(
        conditions: &Conditions<'_>,
        layer: &Recurrent<f64, C>,
        x: &Array3<f64>,
        way: Way,
    ) -> Result<Vec<f64>> {
        let mut rng = random(conditions, 0);
        let d_last = directions(x.dim().1, layer.hidden_size(), &mut rng);
        let (begin, path) = match way {
            Way::Hidden => (Begin::Hidden, Path::All),
            Way::AlongC => (Begin::Cell, Path::CellOnly),
            Way::All => (Begin::Cell, Path::All),
        };
        let flow: Flow = flow(conditions.compute, layer, x.view(), (begin, &d_last), path)?;
        Ok(if begin == Begin::Hidden {
            flow.h
        } else {
            flow.c
        })
    }
    match layer {
        Layer::Rnn(layer) => run::<RnnCell>(conditions, layer, x, way),
        Layer::Gru(layer) => run::<GruCell>(conditions, layer, x, way),
        Layer::Lstm(layer) => run::<LstmCell>(conditions, layer, x, way),
    }
}

fn wide(layer: &Layer<f32>) -> Layer<f64> {
    match layer {
        Layer::Rnn(layer) => Layer::Rnn(widened(layer)),
        Layer::Gru(layer) => Layer::Gru(widened(layer)),
        Layer::Lstm(layer) => Layer::Lstm(widened(layer)),
    }
}

/// A cell with orthogonal recurrent matrices times a factor.
fn scaled(conditions: &Conditions<'_>, cell: CellKind, factor: f64) -> Layer<f64> {
    fn run<C: Cell>(conditions: &Conditions<'_>, cell: C, factor: f64) -> Recurrent<f64, C> {
        let mut layer = Recurrent::zeros(cell, "", 0, HIDDEN, HIDDEN);
        layer.initialise(Init::Orthogonal, &mut random(conditions, 1));
        for weight in &mut layer.weight_hh.value {
            *weight *= factor;
        }
        layer
    }
    match cell {
        CellKind::Rnn => Layer::Rnn(run(conditions, RnnCell::Tanh, factor)),
        CellKind::Gru => Layer::Gru(run(conditions, GruCell, factor)),
        _ => {
            let mut layer = run(conditions, LstmCell, factor);
            set_forget_bias(conditions, &mut layer, 1.0);
            Layer::Lstm(layer)
        }
    }
}

/// Sets the forget bias; without the cause the gate is shut whatever was asked for.
fn set_forget_bias(conditions: &Conditions<'_>, layer: &mut Lstm<f64>, bias: f64) {
    const SHUT: f64 = -1000.0;
    let hidden = layer.hidden_size();
    let bias = if conditions.without_cause { SHUT } else { bias };
    layer.bias_ih.value[hidden..2 * hidden].fill(bias);
}

/// The forget gates of each step, first to last.
fn forget_gates(
    conditions: &Conditions<'_>,
    layer: &Lstm<f64>,
    x: &Array3<f64>,
) -> Result<Vec<Array2<f64>>> {
    let names = Layer::Lstm(layer.clone());
    let passes = forward(conditions.compute, layer, x.view())?;
    let steps = passes.iter();
    Ok(steps.map(|(pass, _)| gates(&names, pass, "f")).collect())
}

/// The LSTM that learnt the task.
fn trained_lstm(solved: &Solved) -> Option<(Lstm<f64>, Array3<f64>)> {
    solved.trained.iter().find_map(|task| match task.layer() {
        Some(Layer::Lstm(layer)) => Some((widened(layer), read_by(task))),
        _ => None,
    })
}

/// dL/dc_(t-1) beside dL/dc_t * f, with what comes back through h cut off.
pub(super) fn kept_equal(conditions: &Conditions<'_>, solved: &Solved) -> Result<Sides> {
    let Some((layer, x)) = trained_lstm(solved) else {
        return Ok(Sides::default());
    };
    let f = forget_gates(conditions, &layer, &x)?;
    let d_last = directions(1, layer.hidden_size(), &mut random(conditions, 0));
    let last = (Begin::Cell, &d_last);
    let flow = flow(conditions.compute, &layer, x.view(), last, Path::CellOnly)?;
    let mut sides = Sides {
        steps: f.len(),
        ..Sides::default()
    };
    for (pair, f) in flow.states.windows(2).zip(f.iter().rev()) {
        let (after, before) = (&pair[0].c, &pair[1].c);
        let size = flow_size(before, layer.hidden_size());
        for unit in 0..layer.hidden_size() {
            let product = after.get(0, unit) * f[(0, unit)];
            let off = (product - before.get(0, unit)).abs();
            if size > 0.0 {
                sides.off = sides.off.max(off / size);
            }
            if sides.shown.len() < UNITS {
                let row = [
                    after.get(0, unit),
                    f[(0, unit)],
                    product,
                    before.get(0, unit),
                ];
                sides.shown.push(row);
            }
        }
        sides.largest = size;
    }
    Ok(sides)
}

fn flow_size(panels: &refrain_kernels::Panels<f64>, units: usize) -> f64 {
    (0..units).fold(0.0, |most: f64, unit| most.max(panels.get(0, unit).abs()))
}

/// All curves against distance.
pub(super) fn along(conditions: &Conditions<'_>, solved: &Solved) -> Result<Along> {
    let mut along = Along::default();
    for (when, tasks) in [("at start", &solved.at_start), ("trained", &solved.trained)] {
        for (cell, task) in CELLS.into_iter().zip(tasks) {
            if let Some(layer) = task.layer() {
                along.follow(conditions, (cell, when), &wide(layer), &read_by(task))?;
            }
        }
    }
    // Inputs near 0, so that tanh hardly bends while the states are small.
    let x = inputs((STEPS, 1, HIDDEN), &mut random(conditions, 2)).mapv(|x| 0.01 * x);
    for (when, factor) in [("W_hh small", 0.5), ("W_hh large", 2.0)] {
        for cell in CELLS {
            let layer = scaled(conditions, cell, factor);
            along.follow(conditions, (cell, when), &layer, &x)?;
        }
    }
    if let Some((layer, x)) = trained_lstm(solved) {
        along.gates = gate_flows(conditions, &layer, &x)?;
    }
    Ok(along)
}

impl Along {
    fn follow(
        &mut self,
        conditions: &Conditions<'_>,
        (cell, when): (CellKind, &'static str),
        layer: &Layer<f64>,
        x: &Array3<f64>,
    ) -> Result<()> {
        for &way in ways(cell) {
            let norms = of_layer(conditions, layer, x, way)?;
            self.cells.push(CellFlow {
                cell,
                way,
                when,
                norms,
            });
        }
        Ok(())
    }
}

fn gate_flows(
    conditions: &Conditions<'_>,
    layer: &Lstm<f64>,
    x: &Array3<f64>,
) -> Result<Vec<GateFlow>> {
    let own = forget_gates(conditions, layer, x)?;
    let all = || own.iter().flatten().copied();
    let count = all().count().max(1) as f64;
    let mean = all().sum::<f64>() / count;
    let mut flows = vec![GateFlow {
        said: "as trained".into(),
        mean,
        lowest: all().fold(1.0, f64::min),
        highest: all().fold(0.0, f64::max),
        norms: of_layer(conditions, &Layer::Lstm(layer.clone()), x, Way::AlongC)?,
    }];
    for (said, value) in [("at their mean", mean), ("0.5", 0.5), ("0.9", 0.9)] {
        let mut layer = layer.clone();
        let (hidden, input) = (layer.hidden_size(), layer.input_size());
        layer.weight_ih.value[hidden * input..][..hidden * input].fill(0.0);
        layer.weight_hh.value[hidden * hidden..][..hidden * hidden].fill(0.0);
        layer.bias_hh.value[hidden..][..hidden].fill(0.0);
        let logit = libm::log(value / (1.0 - value)).max(-1000.0);
        layer.bias_ih.value[hidden..][..hidden].fill(logit);
        flows.push(GateFlow {
            said: format!("fixed {said}"),
            mean: value,
            lowest: value,
            highest: value,
            norms: of_layer(conditions, &Layer::Lstm(layer), x, Way::AlongC)?,
        });
    }
    Ok(flows)
}

/// The gradient of c through all paths, and along c alone, of an LSTM with large recurrent weights.
pub(super) fn through_h(conditions: &Conditions<'_>) -> Result<(Vec<f64>, Vec<f64>)> {
    const FACTOR: f64 = 4.0;
    let Layer::Lstm(layer) = scaled(conditions, CellKind::Lstm, FACTOR) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let x = inputs((STEPS, 1, HIDDEN), &mut random(conditions, 3)).mapv(|x| 0.1 * x);
    let d_last = directions(1, HIDDEN, &mut random(conditions, 0));
    let run = |path| {
        let last = (Begin::Cell, &d_last);
        flow(conditions.compute, &layer, x.view(), last, path)
    };
    Ok((run(Path::All)?.c, run(Path::CellOnly)?.c))
}

/// For forget biases: the mean forget gate and the gradient along c, of an untrained cell.
pub(super) fn forget_biases(conditions: &Conditions<'_>) -> Result<Vec<(f64, f64, Vec<f64>)>> {
    let x = inputs((STEPS, 1, HIDDEN), &mut random(conditions, 4));
    let mut found = Vec::new();
    for bias in [0.0, 1.0, 2.0, 3.0, 5.0] {
        let Layer::Lstm(mut layer) = scaled(conditions, CellKind::Lstm, 1.0) else {
            continue;
        };
        set_forget_bias(conditions, &mut layer, bias);
        let gates = forget_gates(conditions, &layer, &x)?;
        let all = || gates.iter().flatten();
        let mean = all().sum::<f64>() / all().count().max(1) as f64;
        let norms = of_layer(conditions, &Layer::Lstm(layer), &x, Way::AlongC)?;
        found.push((bias, mean, norms));
    }
    Ok(found)
}
