//! Data: vocabularies, texts, batches.
