//! Layers: parameters, forward, backward. No tape: each backward pass stands beside its forward pass.

mod config;
mod convolution;
mod embedding;
mod feed_forward;
mod frames;
mod gru;
mod init;
mod linear;
mod loss;
mod lstm;
mod parameter;
mod pooling;
mod recurrent;
mod rnn;
mod stack;
mod steps;

pub use config::{CellKind, Init, Nonlinearity, StackConfig};
pub use convolution::{Convolution, ConvolutionSpace};
pub use embedding::{DistinctTokens, Embedding};
pub use feed_forward::{FeedForward, FeedForwardConfig, FeedForwardSpace, Window};
pub use frames::{FrameConfig, FrameEncoder, FrameSpace};
pub use gru::{GRU_GATES, Gru};
pub use linear::{Linear, PackedLinear};
pub use loss::SoftmaxCrossEntropy;
pub use lstm::{LSTM_GATES, Lstm};
pub use parameter::{Parameter, Parameters};
pub use pooling::{Pooling, PoolingSpace, pool_backward, pool_forward};
pub use recurrent::{InputGradient, LayerInput, LayerPass, Recurrent, State};
pub use rnn::Rnn;
pub use stack::{Layer, Stack, StackPass, StackSpace, StackState};
pub use steps::Steps;
