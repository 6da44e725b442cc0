//! How good predictions are: counts of what was taken for what, and the scores that follow from them.

mod confusion;
mod forecast;
mod report;

pub use confusion::{ClassScores, Confused, Confusion};
pub use forecast::{
    ErrorMeans, ForecastBaseline, ForecastErrors, ForecastReport, ForecastRoll, ForecastStretch,
    ForecastTarget,
};
pub use report::{Baseline, ClassReport, NamedScores};
