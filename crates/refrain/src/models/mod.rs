//! Models: layers joined for a task.

mod language_model;

pub use language_model::{
    LanguageModel, LanguageModelConfig, LanguageModelSpace, Stream, TokenBatch,
};
