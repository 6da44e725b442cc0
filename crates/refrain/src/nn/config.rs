use serde::{Deserialize, Serialize};

use crate::names::named;

/// The kind of recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellKind {
    /// The vanilla recurrent network, `h' = tanh(W x + U h)`.
    Rnn,
    /// The gated recurrent unit.
    Gru,
    /// Long short-term memory.
    Lstm,
    /// No cell: a plain network without recurrence, to see what recurrence buys.
    Mlp,
}

named!(CellKind, "cell", { Rnn => "rnn", Gru => "gru", Lstm => "lstm", Mlp => "mlp" });

/// The activation of the vanilla cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nonlinearity {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(0, x)`.
    Relu,
}

named!(Nonlinearity, "nonlinearity", { Tanh => "tanh", Relu => "relu" });

/// How recurrent weights begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// All weights and biases uniform in ±1/√hidden_size, as PyTorch does.
    Uniform,
    /// Xavier (Glorot and Bengio, 2010) uniform, gate by gate; biases 0.
    Xavier,
    /// Recurrent matrices orthogonal gate by gate, input matrices Xavier; biases 0.
    Orthogonal,
    /// Recurrent matrices the identity (Le, Jaitly and Hinton, 2015), input matrices Xavier; biases 0.
    Identity,
}

named!(Init, "init", {
    Uniform => "uniform",
    Xavier => "xavier",
    Orthogonal => "orthogonal",
    Identity => "identity",
});

/// A stack of recurrent layers.
#[derive(Clone, Debug, PartialEq)]
pub struct StackConfig {
    /// The cell of every layer.
    pub cell: CellKind,
    /// The activation; only the vanilla cell has a choice.
    pub nonlinearity: Nonlinearity,
    /// Features of each input.
    pub input_size: usize,
    /// Units of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Probability that an output of one layer is dropped on its way to the next, `0 ≤ p < 1`.
    pub dropout: f64,
    /// Probability that a unit is dropped from what the recurrent matrices read, for a whole sequence, `0 ≤ p < 1`.
    pub recurrent_dropout: f64,
    /// Whether each layer reads its inputs in both directions.
    pub bidirectional: bool,
    /// Whether the cells have layer norm, see [`CellNorm`](super::CellNorm).
    pub layer_norm: bool,
    /// Whether there is batch norm between the layers, see [`BatchNorm`](super::BatchNorm); it takes two of them.
    pub batch_norm: bool,
    /// How the weights begin.
    pub init: Init,
    /// The value at which the sum of an LSTM's two forget biases begins; `None` leaves what `init` gives.
    pub forget_bias: Option<f64>,
}

impl StackConfig {
    /// Layers at each depth: one, or two that read in opposite directions.
    #[must_use]
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }
}
