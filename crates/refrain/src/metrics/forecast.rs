use serde::Serialize;

/// How far off answers are, target by target, in f64 sums in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastErrors {
    sums: Vec<f64>,
    absolute: Vec<f64>,
    squared: Vec<f64>,
    counts: Vec<u64>,
}

impl ForecastErrors {
    /// None yet, of so many targets.
    #[must_use]
    pub fn new(targets: usize) -> Self {
        Self {
            sums: vec![0.0; targets],
            absolute: vec![0.0; targets],
            squared: vec![0.0; targets],
            counts: vec![0; targets],
        }
    }

    /// Adds the error of an answer.
    ///
    /// # Panics
    /// If there is no such target.
    pub fn add(&mut self, target: usize, error: f64) {
        self.sums[target] += error;
        self.absolute[target] += error.abs();
        self.squared[target] += error * error;
        self.counts[target] += 1;
    }

    /// Targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.counts.len()
    }

    fn mean(&self, sums: &[f64], target: usize) -> f64 {
        sums[target] / self.counts[target].max(1) as f64
    }

    /// The mean error of a target.
    ///
    /// # Panics
    /// If there is no such target.
    #[must_use]
    pub fn mean_of(&self, target: usize) -> f64 {
        self.mean(&self.sums, target)
    }

    /// The mean errors of a target whose deviation is 1, in units in which it is `deviation`.
    ///
    /// # Panics
    /// If there is no such target.
    #[must_use]
    pub fn of(&self, target: usize, deviation: f64) -> ErrorMeans {
        ErrorMeans {
            mse: self.mean(&self.squared, target) * deviation * deviation,
            mae: self.mean(&self.absolute, target) * deviation,
        }
    }

    /// The mean over the targets.
    #[must_use]
    pub fn means(&self) -> ErrorMeans {
        self.means_in(&|_| 1.0)
    }

    /// The mean over the targets, in units in which each has the deviation that `deviation` says.
    #[must_use]
    pub fn means_in(&self, deviation: &dyn Fn(usize) -> f64) -> ErrorMeans {
        let targets = self.targets();
        let (mut mse, mut mae) = (0.0, 0.0);
        for target in 0..targets {
            let own = self.of(target, deviation(target));
            mse += own.mse;
            mae += own.mae;
        }
        let count = targets.max(1) as f64;
        ErrorMeans {
            mse: mse / count,
            mae: mae / count,
        }
    }
}

/// Mean errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ErrorMeans {
    /// The mean squared error.
    pub mse: f64,
    /// The mean absolute error.
    pub mae: f64,
}

/// What a simple means reaches on the same data.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastBaseline {
    /// `last`, `seasonal`, `linear`, `mean` or `frequency`.
    pub name: &'static str,
    /// Its errors.
    pub errors: ForecastErrors,
    /// Its loss in nats, where it has one.
    pub loss_nats: Option<f64>,
}

/// One target of a forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastTarget {
    /// Its name.
    pub name: String,
    /// The mean by which it was scaled.
    pub mean: f64,
    /// The deviation by which it was scaled.
    pub deviation: f64,
}

/// Steps of a target as they were, and as they were predicted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastStretch {
    /// The target.
    pub target: usize,
    /// The truth, step after step: the first step's number, and the numbers.
    pub truth: (usize, Vec<f64>),
    /// Predictions, each with the number of its first step; and how uncertain they are, where that is said.
    pub predictions: Vec<(usize, Vec<f64>, Vec<f64>)>,
}

/// A sequence of what is there or not, beside the probabilities that were predicted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastRoll {
    /// The targets that occur, the last one first.
    pub targets: Vec<usize>,
    /// Steps × targets.
    pub probabilities: Vec<Vec<f64>>,
    /// The same as it was.
    pub truth: Vec<Vec<bool>>,
}

/// How a forecaster scores on one part of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastReport {
    /// What is minimised, by its name.
    pub loss_name: &'static str,
    /// Its mean: nats a step of a likelihood.
    pub loss: f64,
    /// The errors of the answers, on the scale on which each target has deviation 1.
    pub errors: ForecastErrors,
    /// The targets.
    pub targets: Vec<ForecastTarget>,
    /// What simple means reach.
    pub baselines: Vec<ForecastBaseline>,
    /// The season that was found.
    pub season: Option<usize>,
    /// Some answers beside the truth.
    pub stretches: Vec<ForecastStretch>,
    /// The same of what is there or not.
    pub roll: Option<ForecastRoll>,
}

impl ForecastReport {
    /// Mean errors on the scale on which each target has deviation 1.
    #[must_use]
    pub fn scaled(&self) -> ErrorMeans {
        self.errors.means()
    }

    /// Mean errors in the units of the data.
    #[must_use]
    pub fn original(&self) -> ErrorMeans {
        self.errors
            .means_in(&|target| self.targets[target].deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_answers_then_targets() {
        let mut errors = ForecastErrors::new(2);
        for (target, error) in [(0, 1.0), (0, -3.0), (1, 2.0)] {
            errors.add(target, error);
        }
        assert_eq!(errors.of(0, 1.0), ErrorMeans { mse: 5.0, mae: 2.0 });
        assert_eq!(errors.means(), ErrorMeans { mse: 4.5, mae: 2.0 });
        assert_eq!(errors.mean_of(0), -1.0);
        let twice = errors.means_in(&|target| if target == 0 { 2.0 } else { 1.0 });
        assert_eq!(
            twice,
            ErrorMeans {
                mse: 12.0,
                mae: 3.0
            }
        );
    }
}
