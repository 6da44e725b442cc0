//! The run folder: its metrics.

pub mod metrics;
