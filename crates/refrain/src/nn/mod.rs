//! Layers: parameters, forward, backward. No tape: each backward pass stands beside its forward pass.

mod config;
mod embedding;
mod gru;
mod init;
mod linear;
mod loss;
mod lstm;
mod parameter;
mod recurrent;
mod rnn;
mod stack;
mod steps;

pub use config::{CellKind, Init, Nonlinearity, StackConfig};
pub use embedding::{DistinctTokens, Embedding};
pub use gru::{GRU_GATES, Gru};
pub use linear::{Linear, PackedLinear};
pub use loss::SoftmaxCrossEntropy;
pub use lstm::{LSTM_GATES, Lstm};
pub use parameter::{Parameter, Parameters};
pub use recurrent::{InputGradient, LayerInput, LayerPass, Recurrent, State};
pub use rnn::Rnn;
pub use stack::{Layer, Stack, StackPass, StackSpace, StackState};
pub use steps::Steps;
