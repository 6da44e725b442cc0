//! How good predictions are: counts of what was taken for what and the scores that follow from them; scores of sentences.

mod confusion;
mod forecast;
mod report;
mod translation;

pub use confusion::{ClassScores, Confused, Confusion};
pub use forecast::{
    ErrorMeans, ForecastBaseline, ForecastErrors, ForecastReport, ForecastRoll, ForecastStretch,
    ForecastTarget,
};
pub use report::{Baseline, ClassReport, NamedScores};
pub use translation::{Bleu, BleuOfLengths, bleu, bleu_by_length, chrf, exact_match};
