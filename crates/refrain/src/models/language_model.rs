use crate::nn::{CellKind, Init, Nonlinearity};

/// The architecture of a language model: embedding, recurrent stack, linear.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModelConfig {
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
