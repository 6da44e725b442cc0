//! Generation: from scores to tokens.

mod beam;
mod generator;
mod sampler;
mod stop;

pub use beam::{Beam, Hypothesis};
pub use generator::Generator;
pub use sampler::{Draw, Sampler};
pub use stop::StopText;
