//! How gates stand while a model reads: their means, how often each unit's is as good as shut or open, and what that says of
//! memory.
//!
//! # References
//! Karpathy, Johnson and Li, "Visualizing and understanding recurrent networks", 2015: a gate is left-saturated below 0.1
//! and right-saturated above 0.9.

use refrain_kernels::{RnnCell, Scalar};
use serde::{Deserialize, Serialize};

use super::named_layers;
use crate::nn::{Direction, Layer, Stack, StackSpace};

/// Below this, and above one less this, a sigmoid gate is saturated; a tanh is below -0.9 and above 0.9.
const EDGE: f64 = 0.1;

/// How one gate of a layer stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateUse {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// The gate in PyTorch's order: `i f g o`, `r z n`; of the vanilla cell the state, `h`.
    pub gate: String,
    /// Steps that were counted, of all sequences.
    pub steps: u64,
    /// The mean over steps and units.
    pub mean: f64,
    /// The mean over steps, by unit.
    pub unit_mean: Vec<f64>,
    /// The fraction of the steps below 0.1 (-0.9 of a tanh; 0, which is off, of a rectifier), by unit.
    pub left_saturated: Vec<f64>,
    /// The fraction of the steps above 0.9 (never of a rectifier), by unit.
    pub right_saturated: Vec<f64>,
    /// Of a gate that keeps the state (`f`; `z` of a GRU): `1 / (1 - mean)` by unit, the steps that a unit remembers if its
    /// gate always stands at its mean. Not finite where it was never less than 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime: Option<Vec<f64>>,
}

/// The middle one of some numbers, or the mean of the two middle ones; none of none.
#[must_use]
pub fn middle(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| super::gradients::quantile(&sorted, 0.5))
}

/// What was counted of one unit's gate.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sum: f64,
    left: u64,
    right: u64,
}

/// What was counted of one gate of a layer.
#[derive(Clone, Debug)]
struct Counts {
    name: String,
    gate: &'static str,
    steps: u64,
    units: Vec<Count>,
}

/// Counts how the gates of stacks stand, pass after pass.
#[derive(Clone, Debug, Default)]
pub struct GateCounter {
    gates: Vec<Counts>,
}

/// Where a gate is saturated: at or below, at or above.
fn edges<T: Scalar>(layer: &Layer<T>, gate: &str) -> (f64, f64) {
    match (layer, gate) {
        (Layer::Rnn(layer), _) if layer.cell == RnnCell::Relu => (0.0, f64::INFINITY),
        (_, "g" | "n" | "h") => (EDGE - 1.0, 1.0 - EDGE),
        _ => (EDGE, 1.0 - EDGE),
    }
}

impl GateCounter {
    /// Counts what the last forward pass of a stack left; `owner` is what its parameters' names begin with.
    ///
    /// # Panics
    /// If there was no forward pass, or a backward pass has used it up.
    pub fn add<T: Scalar>(&mut self, owner: &str, stack: &Stack<T>, space: &StackSpace<T>) {
        let directions = 1 + usize::from(stack.is_bidirectional());
        for (layer, way, name) in named_layers(owner, stack) {
            let unit = layer * directions + usize::from(way == Direction::Reverse);
            for (gate, values) in stack.gates(space, layer, way) {
                let counts = self.of(&name, gate, stack.hidden_size());
                let (left, right) = edges(&stack.layers[unit], gate);
                let is_rectifier = right.is_infinite();
                for ((_, unit), value) in values.indexed_iter() {
                    let (count, value) = (&mut counts.units[unit], value.to_f64());
                    count.sum += value;
                    let is_left = if is_rectifier {
                        value <= left
                    } else {
                        value < left
                    };
                    count.left += u64::from(is_left);
                    count.right += u64::from(value > right);
                }
                counts.steps += values.nrows() as u64;
            }
        }
    }

    /// Where a gate is counted, made where it is first asked for.
    fn of(&mut self, name: &str, gate: &'static str, units: usize) -> &mut Counts {
        let is_it = |counts: &Counts| counts.name == name && counts.gate == gate;
        let at = self.gates.iter().position(is_it).unwrap_or_else(|| {
            self.gates.push(Counts {
                name: name.into(),
                gate,
                steps: 0,
                units: vec![Count::default(); units],
            });
            self.gates.len() - 1
        });
        &mut self.gates[at]
    }

    /// How the gates stood, over all that was counted.
    #[must_use]
    pub fn finish(&self) -> Vec<GateUse> {
        let gates = self.gates.iter().map(|counts| {
            let steps = counts.steps.max(1) as f64;
            let by_unit = |value: fn(&Count) -> f64| -> Vec<f64> {
                counts
                    .units
                    .iter()
                    .map(|unit| value(unit) / steps)
                    .collect()
            };
            let unit_mean = by_unit(|count| count.sum);
            let keeps = matches!(counts.gate, "f" | "z");
            let lifetime = || unit_mean.iter().map(|mean| 1.0 / (1.0 - mean)).collect();
            GateUse {
                name: counts.name.clone(),
                gate: counts.gate.into(),
                steps: counts.steps,
                mean: unit_mean.iter().sum::<f64>() / unit_mean.len().max(1) as f64,
                lifetime: keeps.then(lifetime),
                left_saturated: by_unit(|count| count.left as f64),
                right_saturated: by_unit(|count| count.right as f64),
                unit_mean,
            }
        });
        gates.collect()
    }
}
