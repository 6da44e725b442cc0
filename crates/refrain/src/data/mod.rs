//! Data: vocabularies, texts, batches.

pub mod arrays;
pub mod demo;
pub mod lm;
pub mod pictures;
pub mod source;
pub mod standardisation;
pub mod symbols;
pub mod text;
pub mod vocabulary;

pub use arrays::{ArrayLabels, Arrays, NpzWriter, Targets, Values};
pub use lm::{LmData, LmNotes, Portion, Split};
pub use pictures::IdxPair;
pub use standardisation::Standardisation;
pub use text::{Text, TextOptions, TokenReader};
pub use vocabulary::{Decoder, Encoded, TokenKind, Vocabulary};
