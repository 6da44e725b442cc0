//! Layers: parameters, forward, backward.

mod config;

pub use config::{CellKind, Init, Nonlinearity, StackConfig};
