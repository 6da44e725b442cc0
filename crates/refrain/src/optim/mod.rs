//! Optimisers, schedules, clipping.

mod config;
mod optimizer;
mod plateau;

pub use config::{OptimizerConfig, OptimizerKind, Schedule};
pub use optimizer::{Optimizer, Update, gradient_norm};
pub use plateau::Plateau;
