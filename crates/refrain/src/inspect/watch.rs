//! What is watched of a model while it is trained: little enough to be written down every so many steps.

use refrain_kernels::{Compute, Scalar};
use serde::{Deserialize, Serialize};

use super::gates::{GateUse, middle};
use super::gradients::{LayerGradients, Reach, StateKind, Trace, of_text, summarise};
use super::spectrum::{GateSpectrum, spectrum};
use super::wide;
use crate::models::LanguageModel;
use crate::names::named;
use crate::nn::Parameters;

/// Losses that are carried back, and how far.
pub const PROBES: usize = 8;
const REACH: Reach = Reach {
    max_distance: 50,
    warm_up: 50,
};
/// Distances that are written down.
const DISTANCES: [usize; 9] = [0, 1, 2, 3, 5, 10, 20, 30, 50];
/// Steps of all sequences together whose gates are counted.
pub const GATE_STEPS: usize = 1024;

/// What there is to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchKind {
    /// How far gradients reach.
    Gradients,
    /// What the recurrent matrices do to a state.
    Spectrum,
    /// How the gates stand.
    Gates,
}

named!(WatchKind, "watch", { Gradients => "gradients", Spectrum => "spectrum", Gates => "gates" });

/// What was seen after a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The step.
    pub step: u64,
    /// How far gradients reach, layer by layer.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gradients: Vec<WatchedGradients>,
    /// The recurrent matrices, gate by gate.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub spectrum: Vec<WatchedSpectrum>,
    /// The gates.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gates: Vec<WatchedGate>,
}

/// Gradients of a layer's states, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchedGradients {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// Which state.
    pub state: StateKind,
    /// Some distances.
    pub distance: Vec<usize>,
    /// The median of the norms there.
    pub median: Vec<Option<f64>>,
    /// As [`LayerGradients::half_life`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub half_life: Option<f64>,
}

/// A recurrent matrix, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchedSpectrum {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// The gate.
    pub gate: String,
    /// The greatest singular value.
    pub greatest: f64,
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest absolute value of an eigenvalue.
    pub spectral_radius: f64,
}

/// A gate, in short: means over units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchedGate {
    /// The layer, as in `rnn_l0`.
    pub name: String,
    /// The gate.
    pub gate: String,
    /// The mean over steps and units.
    pub mean: f64,
    /// How often it is left-saturated.
    pub left_saturated: f64,
    /// How often it is right-saturated.
    pub right_saturated: f64,
    /// The lifetime of the middle unit, of a gate that keeps the state, where it is finite.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime: Option<f64>,
}

impl From<&LayerGradients> for WatchedGradients {
    fn from(layer: &LayerGradients) -> Self {
        let reached = |distance: &usize| *distance < layer.median.len();
        let distance: Vec<usize> = DISTANCES.into_iter().filter(reached).collect();
        let finite = |&at: &usize| Some(layer.median[at]).filter(|norm| norm.is_finite());
        Self {
            name: layer.name.clone(),
            state: layer.state,
            median: distance.iter().map(finite).collect(),
            distance,
            half_life: layer.half_life,
        }
    }
}

impl From<&GateSpectrum> for WatchedSpectrum {
    fn from(gate: &GateSpectrum) -> Self {
        let values = &gate.singular_values;
        Self {
            name: gate.name.clone(),
            gate: gate.gate.clone(),
            greatest: values.first().copied().unwrap_or(0.0),
            median: middle(values).unwrap_or(0.0),
            least: values.last().copied().unwrap_or(0.0),
            spectral_radius: gate.spectral_radius,
        }
    }
}

impl From<&GateUse> for WatchedGate {
    fn from(gate: &GateUse) -> Self {
        let mean = |parts: &[f64]| parts.iter().sum::<f64>() / parts.len().max(1) as f64;
        let lifetime = gate.lifetime.as_deref().and_then(middle);
        Self {
            name: gate.name.clone(),
            gate: gate.gate.clone(),
            mean: gate.mean,
            left_saturated: mean(&gate.left_saturated),
            right_saturated: mean(&gate.right_saturated),
            lifetime: lifetime.filter(|steps| steps.is_finite()),
        }
    }
}

/// The recurrent matrices of a model, in short; nothing where a weight is not finite, which the trainer tells of.
pub fn spectrum_of<T: Scalar>(model: &dyn Parameters<T>) -> Vec<WatchedSpectrum> {
    let found = spectrum(model).unwrap_or_default();
    found.iter().map(WatchedSpectrum::from).collect()
}

/// How far the gradients of a language model reach, at places that are spread evenly over a text.
pub fn gradients_of_text(
    compute: &Compute,
    model: &LanguageModel<f32>,
    ids: &[u32],
) -> Vec<WatchedGradients> {
    let Some(most) = ids.len().checked_sub(2) else {
        return Vec::new();
    };
    let reach = Reach {
        max_distance: REACH.max_distance.min(most),
        ..REACH
    };
    let first = reach.max_distance + 1;
    let places = ids.len() - first;
    let positions: Vec<usize> = (0..PROBES.min(places))
        .map(|at| first + at * places / PROBES.min(places))
        .collect();
    let mut model = wide::language_model(model);
    gradients_of(&of_text(compute, &mut model, ids, &positions, reach))
}

/// What is written down of some losses that were carried back.
#[must_use]
pub fn gradients_of(traces: &[Trace]) -> Vec<WatchedGradients> {
    let layers = summarise(traces, REACH.max_distance);
    layers.iter().map(WatchedGradients::from).collect()
}
