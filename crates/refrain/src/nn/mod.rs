//! Layers: parameters, forward, backward. No tape: each backward pass stands beside its forward pass.

mod config;
mod embedding;
mod gru;
mod init;
mod layer;
mod linear;
mod loss;
mod lstm;
mod norm;
mod parameter;
mod recurrent;
mod recurrent_array;
mod recurrent_backward;
mod rnn;
mod stack;
mod stack_array;
mod state;
mod steps;

pub use config::{CellKind, Init, Nonlinearity, StackConfig};
pub use embedding::{DistinctTokens, Embedding};
pub use gru::{GRU_GATES, Gru};
pub use layer::{Direction, Layer};
pub use linear::{Linear, PackedLinear};
pub use loss::SoftmaxCrossEntropy;
pub use lstm::{LSTM_GATES, Lstm};
pub use norm::{Affine, BatchNorm, CellNorm};
pub use parameter::{Parameter, Parameters};
pub use recurrent::{InputGradient, LayerInput, Recurrent};
pub use recurrent_array::LayerPass;
pub use rnn::Rnn;
pub use stack::{Stack, StackSpace, StackState};
pub use stack_array::StackPass;
pub use state::State;
pub use steps::Steps;
