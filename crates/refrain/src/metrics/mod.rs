//! How good predictions are: counts of what was taken for what, and the scores that follow from them.

mod confusion;
mod report;

pub use confusion::{ClassScores, Confused, Confusion};
pub use report::{Baseline, ClassReport, NamedScores};
