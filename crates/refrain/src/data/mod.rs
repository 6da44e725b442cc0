//! Data: vocabularies, texts, tables, arrays, examples.

pub mod arrays;
pub mod conll;
pub mod demo;
pub mod embeddings;
pub mod encoding;
pub mod examples;
pub mod forecast;
mod format;
pub mod labelled;
pub mod lm;
pub mod pictures;
pub mod rows;
pub mod series;
pub mod source;
pub mod standardisation;
pub mod symbols;
pub mod table;
pub mod text;
pub mod vocabulary;

pub use arrays::{ArrayLabels, Arrays, NpzWriter, Targets, Values};
pub use conll::{SentenceOptions, SentenceReader, TaggedSentence, TaggedSentences, read_conll};
pub use embeddings::{Embeddings, read_embeddings};
pub use encoding::Encoding;
pub use examples::Examples;
pub use format::Format;
pub use lm::{LmData, LmNotes, Portion, Split};
pub use pictures::IdxPair;
pub use rows::{OnBadRow, RowNotes};
pub use standardisation::Standardisation;
pub use table::{LabelledText, LabelledTexts, TableOptions, TableReader, read_table};
pub use text::{Text, TextOptions, TokenBlock, TokenReader};
pub use vocabulary::{Decoder, Encoded, TokenKind, Vocabulary, WordCounts, WordOptions};
