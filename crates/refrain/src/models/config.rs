use crate::nn::{CellKind, Init, Nonlinearity, StackConfig};

/// The architecture of a model, for every task; what a task has no use for is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The cell of every layer.
    pub cell: CellKind,
    /// The activation of the vanilla cell.
    pub nonlinearity: Nonlinearity,
    /// Units of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Features of a token's vector.
    pub embedding_size: usize,
    /// Dropout between layers and before the linear layer, `0 ≤ p < 1`.
    pub dropout: f64,
    /// Whether the linear layer uses the embedding's weights (then both sizes are equal).
    pub tie_weights: bool,
    /// How the recurrent weights begin.
    pub init: Init,
    /// Where the LSTM's forget bias begins; `None` leaves what `init` gives.
    pub forget_bias: Option<f64>,
}

impl Default for ModelConfig {
    /// A small model: one LSTM layer of 128 units.
    fn default() -> Self {
        Self {
            cell: CellKind::Lstm,
            nonlinearity: Nonlinearity::Tanh,
            hidden_size: 128,
            num_layers: 1,
            embedding_size: 32,
            dropout: 0.0,
            tie_weights: false,
            init: Init::Uniform,
            forget_bias: Some(1.0),
        }
    }
}

impl ModelConfig {
    /// The recurrent stack of this model on inputs of `input_size` features.
    #[must_use]
    pub fn stack(&self, input_size: usize) -> StackConfig {
        StackConfig {
            cell: self.cell,
            nonlinearity: self.nonlinearity,
            input_size,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            dropout: self.dropout,
            init: self.init,
            forget_bias: self.forget_bias,
        }
    }
}

/// Panels of sixteen units that a group of units keeps for the backward pass, and gates with weights.
fn slots_and_gates(cell: CellKind) -> (f64, f64) {
    match cell {
        CellKind::Rnn => (1.0, 1.0),
        CellKind::Gru => (4.0, 3.0),
        CellKind::Lstm => (4.0, 4.0),
    }
}

fn padded(size: usize) -> f64 {
    (size.div_ceil(16) * 16) as f64
}

impl ModelConfig {
    /// The number of trainable numbers in the layers between input and output, in floating point so that no size
    /// overflows.
    #[must_use]
    pub fn layers_estimate(&self, input_size: usize) -> f64 {
        let (_, gates) = slots_and_gates(self.cell);
        let hidden = self.hidden_size as f64;
        let first = gates * hidden * (input_size as f64 + hidden + 2.0);
        let further = gates * hidden * (2.0 * hidden + 2.0) * (self.num_layers as f64 - 1.0);
        first + further
    }

    /// Numbers that the layers keep of each row over time while they are trained.
    #[must_use]
    pub fn activations_estimate(&self) -> f64 {
        let (slots, _) = slots_and_gates(self.cell);
        let hidden = padded(self.hidden_size);
        hidden * (slots + 3.0) * self.num_layers as f64 + 4.0 * hidden
    }

    /// The number of trainable numbers of a language model.
    #[must_use]
    pub fn parameter_estimate(&self, vocab_size: usize) -> f64 {
        let (vocab, embedding, hidden) = (
            vocab_size as f64,
            self.embedding_size as f64,
            self.hidden_size as f64,
        );
        let linear = if self.tie_weights {
            vocab
        } else {
            vocab * (hidden + 1.0)
        };
        vocab * embedding + self.layers_estimate(self.embedding_size) + linear
    }

    /// An estimate of the bytes that training a language model takes in all: weights, gradients, moments, packed copies,
    /// and the activations of a chunk.
    #[must_use]
    pub fn memory_estimate(&self, vocab_size: usize, batch: usize, seq_len: usize) -> f64 {
        let rows = batch as f64 * seq_len as f64;
        let activations = rows * (self.activations_estimate() + padded(vocab_size) + 16.0);
        4.0 * (9.0 * self.parameter_estimate(vocab_size) + activations)
    }
}
