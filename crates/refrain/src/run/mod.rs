//! The run folder: its metrics and its report.

pub mod metrics;
#[cfg(feature = "report")]
pub mod plot;
#[cfg(feature = "report")]
pub mod report;
