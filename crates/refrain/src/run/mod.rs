//! A run: its settings, its folder, its metrics, its report, and the tasks that are run in it.

mod folder;
pub mod forecast;
pub mod graph;
pub mod labels;
pub mod look;
pub mod metrics;
pub mod model;
#[cfg(feature = "report")]
pub mod plot;
pub mod predict;
#[cfg(feature = "report")]
pub mod report;
pub mod settings;
mod start;
pub mod states;
pub(crate) mod tasks;
mod training;
pub mod writers;

pub use folder::RunFolder;
pub use training::{Given, Run, Summary};
