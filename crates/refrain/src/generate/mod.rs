//! Generation: from scores to tokens.

mod generator;
mod sampler;

pub use generator::Generator;
pub use sampler::{Draw, Sampler};
