//! The run folder: its metrics and its pictures.

pub mod metrics;
#[cfg(feature = "report")]
pub mod plot;
