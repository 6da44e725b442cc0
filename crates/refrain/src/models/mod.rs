//! Models: layers joined for a task.

mod batch;
mod characters;
mod config;
mod decoder;
mod encoder;
mod encoder_decoder;
mod forecaster;
mod history;
mod labeller;
mod language_model;

pub use batch::{BatchInputs, SequenceBatch, SpelledWords, falling_order, rows_of};
pub use characters::{CharacterEncoder, CharacterSpace};
pub use config::ModelConfig;
pub use decoder::{Decoder, DecoderBody, DecoderGradients, DecoderSpace, Encoded};
pub use encoder::{Body, Encoder, EncoderSpace, InputShape, Output, Reader, View};
pub use encoder_decoder::{EncoderDecoder, EncoderDecoderSpace, TargetBatch};
pub use forecaster::{Forecaster, ForecasterShape, ForecasterSpace};
pub use labeller::{LabelBatch, Labeller, LabellerSpace};
pub use language_model::{LanguageModel, LanguageModelSpace, Stream, TokenBatch};
