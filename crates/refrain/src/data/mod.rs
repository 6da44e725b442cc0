//! Data: vocabularies, texts, batches.

pub mod demo;
pub mod lm;
pub mod source;
pub mod symbols;
pub mod text;
pub mod vocabulary;

pub use lm::{LmData, LmNotes, Portion, Split};
pub use text::{Text, TextOptions, TokenBlock, TokenReader};
pub use vocabulary::{Decoder, Encoded, TokenKind, Vocabulary, WordCounts, WordOptions};
