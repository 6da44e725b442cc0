//! Recurrent networks: train, sample and look inside them on an ordinary CPU.

pub mod checkpoint;
pub mod data;
mod error;
pub mod generate;
pub mod models;
mod names;
pub mod nn;
pub mod optim;
pub mod run;
pub mod train;

pub use error::{Error, Result};
pub use refrain_kernels::{Compute, Isa, IsaError, Scalar};
