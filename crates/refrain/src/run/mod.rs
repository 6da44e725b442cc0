//! A run: its settings and its folder.

pub mod settings;
