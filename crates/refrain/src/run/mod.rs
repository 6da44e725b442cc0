//! A run: its settings, its folder, its metrics, its report, and the tasks that are run in it.

mod folder;
mod language_model;
pub mod metrics;
pub mod model;
#[cfg(feature = "report")]
pub mod plot;
#[cfg(feature = "report")]
pub mod report;
pub mod settings;

pub use folder::RunFolder;
pub use language_model::{Given, LanguageModelRun, Summary};
