//! Optimisers, schedules, clipping.

mod config;

pub use config::{OptimizerConfig, OptimizerKind, Schedule};
