//! Data: vocabularies, texts, batches.

pub mod vocabulary;

pub use vocabulary::{Decoder, Encoded, TokenKind, Vocabulary};
