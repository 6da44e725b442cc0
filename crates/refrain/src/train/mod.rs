//! Training: the loop, its settings, its events.

mod config;
pub mod events;

pub use config::{Budget, TrainConfig};
