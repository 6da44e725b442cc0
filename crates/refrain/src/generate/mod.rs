//! Generation: from scores to tokens.

mod generator;
mod sampler;
mod stop;

pub use generator::Generator;
pub use sampler::{Draw, Sampler};
pub use stop::StopText;
