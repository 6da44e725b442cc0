//! Gradient checks, goldens and comparisons for the tests of Refrain.
//!
//! Everything here fails by panicking, with the names and numbers that a reader of a red test needs.

mod compare;
mod data;
mod golden;
mod gradient;

pub use compare::assert_close;
pub use data::shared_data;
pub use golden::{Golden, testdata};
pub use gradient::{GradientReport, gradient_check};
