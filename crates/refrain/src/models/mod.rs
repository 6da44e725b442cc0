//! Models: layers joined for a task.

mod config;
mod language_model;

pub use config::ModelConfig;
pub use language_model::{LanguageModel, LanguageModelSpace, Stream, TokenBatch};
