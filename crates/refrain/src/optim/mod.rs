//! Optimisers, schedules, clipping.

mod config;
mod optimizer;

pub use config::{OptimizerConfig, OptimizerKind, Schedule};
pub use optimizer::{Optimizer, Update, gradient_norm};
