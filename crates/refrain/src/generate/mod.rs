//! Generation: from scores to tokens.

mod sampler;

pub use sampler::{Draw, Sampler};
