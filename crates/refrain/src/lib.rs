//! Recurrent networks: train, sample and look inside them on an ordinary CPU.

pub mod data;
mod error;
pub mod models;
pub mod nn;
pub mod optim;
pub mod run;
pub mod train;

pub use error::{Error, Result};
