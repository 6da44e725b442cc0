//! A run: its settings and its folder.

pub mod model;
pub mod settings;
