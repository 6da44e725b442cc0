use refrain_kernels::{Panels, Scalar};
use serde::{Deserialize, Serialize};

use crate::names::named;

/// `ln(2 π) / 2`.
const HALF_LOG_TWO_PI: f64 = 0.918_938_533_204_672_7;
/// The least log-variance of a normal distribution, `ln 1e-6`: what never changes would else be worth infinitely much.
const LEAST_LOG_VARIANCE: f64 = -13.815_510_557_964_274;

/// How far numbers are from the ones that were wanted.
///
/// ```text
/// mse        mean of (y - t)² over the numbers of a row
/// mae        mean of |y - t|
/// gaussian   -log N(t; y, exp(s)) = (log 2π + s + (t - y)² exp(-s)) / 2, in nats; s is the log-variance, at least log 1e-6
/// bernoulli  -log of the probability of t, 0 or 1, where that of 1 is 1 / (1 + exp(-y)), in nats
/// ```
///
/// The two likelihoods are summed over the numbers of a step, and are the mean over the steps of a row; the loss of a batch is
/// the mean over its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForecastLoss {
    /// The mean squared error.
    Mse,
    /// The mean absolute error.
    Mae,
    /// The likelihood of a normal distribution whose mean and log-variance are given.
    Gaussian,
    /// The likelihood of what is there or is not, each number by itself; what is given is its logit.
    Bernoulli,
}

named!(ForecastLoss, "loss", {
    Mse => "mse", Mae => "mae", Gaussian => "gaussian", Bernoulli => "bernoulli",
});

impl ForecastLoss {
    /// Numbers that are to be given for so many targets: of a normal distribution the means, then the log-variances.
    #[must_use]
    pub fn outputs(self, targets: usize) -> usize {
        match self {
            Self::Mse | Self::Mae | Self::Bernoulli => targets,
            Self::Gaussian => 2 * targets,
        }
    }

    /// Whether it is a code length, in nats.
    #[must_use]
    pub fn is_likelihood(self) -> bool {
        matches!(self, Self::Gaussian | Self::Bernoulli)
    }
}

/// The losses of the rows of a batch, in f64, each a chain over its numbers upwards.
#[derive(Clone, Debug, Default)]
pub struct ForecastLosses {
    losses: Vec<f64>,
}

/// The loss of a number, and its derivatives by what was given for it (by the mean, by the log-variance).
fn term(loss: ForecastLoss, target: f64, output: f64, log_variance: f64) -> (f64, f64, f64) {
    let distance = output - target;
    match loss {
        ForecastLoss::Mse => (distance * distance, 2.0 * distance, 0.0),
        // Between both sides the derivative is 0.
        ForecastLoss::Mae if distance == 0.0 => (0.0, 0.0, 0.0),
        ForecastLoss::Mae => (distance.abs(), distance.signum(), 0.0),
        ForecastLoss::Gaussian => {
            let is_free = log_variance > LEAST_LOG_VARIANCE;
            // What is not a number stays so.
            let log_variance = if log_variance <= LEAST_LOG_VARIANCE {
                LEAST_LOG_VARIANCE
            } else {
                log_variance
            };
            let precision = libm::exp(-log_variance);
            let squared = distance * distance * precision;
            let d_log_variance = if is_free { 0.5 * (1.0 - squared) } else { 0.0 };
            (
                HALF_LOG_TWO_PI + 0.5 * (log_variance + squared),
                distance * precision,
                d_log_variance,
            )
        }
        ForecastLoss::Bernoulli => {
            // Of the smaller side, so that nothing overflows.
            let small = libm::exp(-output.abs());
            let loss = output.max(0.0) - output * target + libm::log1p(small);
            let probability = if output >= 0.0 {
                1.0 / (1.0 + small)
            } else {
                small / (1.0 + small)
            };
            (loss, probability - target, 0.0)
        }
    }
}

/// The probability that a logit stands for.
#[must_use]
pub fn probability(logit: f64) -> f64 {
    let small = libm::exp(-logit.abs());
    let greater = 1.0 / (1.0 + small);
    if logit >= 0.0 {
        greater
    } else {
        small * greater
    }
}

/// The deviation that a log-variance stands for.
#[must_use]
pub fn deviation(log_variance: f64) -> f64 {
    libm::exp(0.5 * log_variance.max(LEAST_LOG_VARIANCE))
}

impl ForecastLosses {
    /// The loss of each row.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// The sum of the losses of the rows.
    ///
    /// # Shapes
    /// `outputs`: rows × [`ForecastLoss::outputs`]; `targets`: rows × (steps · numbers of a step).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward<T: Scalar>(
        &mut self,
        loss: ForecastLoss,
        outputs: &Panels<T>,
        targets: &Panels<T>,
        steps: usize,
    ) -> f64 {
        let share = share(loss, outputs, targets, steps);
        self.losses.clear();
        for row in 0..targets.rows() {
            let mut sum = 0.0;
            for column in 0..targets.columns() {
                sum += numbers(loss, outputs, targets, row, column).0;
            }
            self.losses.push(sum * share);
        }
        self.losses.iter().sum()
    }

    /// The mean of the losses of the rows; `outputs` become its gradient.
    ///
    /// # Panics
    /// As [`ForecastLosses::forward`].
    pub fn forward_backward<T: Scalar>(
        &mut self,
        loss: ForecastLoss,
        outputs: &mut Panels<T>,
        targets: &Panels<T>,
        steps: usize,
    ) -> f64 {
        let (rows, columns) = (targets.rows(), targets.columns());
        let share = share(loss, outputs, targets, steps);
        let scale = share / rows.max(1) as f64;
        self.losses.clear();
        for row in 0..rows {
            let mut sum = 0.0;
            for column in 0..columns {
                let (value, d_mean, d_log_variance) = numbers(loss, outputs, targets, row, column);
                sum += value;
                outputs.set(row, column, T::from_f64(d_mean * scale));
                if loss == ForecastLoss::Gaussian {
                    outputs.set(row, columns + column, T::from_f64(d_log_variance * scale));
                }
            }
            self.losses.push(sum * share);
        }
        self.losses.iter().sum::<f64>() / rows.max(1) as f64
    }
}

fn numbers<T: Scalar>(
    loss: ForecastLoss,
    outputs: &Panels<T>,
    targets: &Panels<T>,
    row: usize,
    column: usize,
) -> (f64, f64, f64) {
    let log_variance = match loss {
        ForecastLoss::Gaussian => outputs.get(row, targets.columns() + column).to_f64(),
        _ => 0.0,
    };
    let (target, output) = (targets.get(row, column), outputs.get(row, column));
    term(loss, target.to_f64(), output.to_f64(), log_variance)
}

/// What the sum over a row is multiplied by.
fn share<T: Scalar>(
    loss: ForecastLoss,
    outputs: &Panels<T>,
    targets: &Panels<T>,
    steps: usize,
) -> f64 {
    let columns = targets.columns();
    assert_eq!(outputs.rows(), targets.rows(), "rows");
    assert_eq!(outputs.columns(), loss.outputs(columns), "outputs");
    assert!(
        steps > 0 && columns.is_multiple_of(steps),
        "{columns} numbers of {steps} steps"
    );
    if loss.is_likelihood() {
        1.0 / steps as f64
    } else {
        1.0 / columns.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> Panels<f64> {
        let mut panels = Panels::new(1, values.len());
        panels.copy_from_rows(0, values);
        panels
    }

    fn loss_of(loss: ForecastLoss, outputs: &[f64], targets: &[f64], steps: usize) -> f64 {
        ForecastLosses::default().forward(loss, &row(outputs), &row(targets), steps)
    }

    #[test]
    fn losses_are_what_they_say() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        near(loss_of(ForecastLoss::Mse, &[1.0, 4.0], &[0.0, 2.0], 2), 2.5);
        near(loss_of(ForecastLoss::Mae, &[1.0, 4.0], &[0.0, 2.0], 1), 1.5);
        // Two steps of one number: half of the sum; one step of two: the sum.
        let standard = HALF_LOG_TWO_PI + 0.5;
        let outputs = [1.0, 1.0, 0.0, 0.0];
        near(
            loss_of(ForecastLoss::Gaussian, &outputs, &[0.0, 2.0], 2),
            standard,
        );
        near(
            loss_of(ForecastLoss::Gaussian, &outputs, &[0.0, 2.0], 1),
            2.0 * standard,
        );
        let ln2 = std::f64::consts::LN_2;
        near(
            loss_of(ForecastLoss::Bernoulli, &[0.0, 0.0], &[0.0, 1.0], 1),
            2.0 * ln2,
        );
    }

    #[test]
    fn extremes_stay_numbers() {
        for (output, target, expected) in
            [(800.0, 1.0, 0.0), (800.0, 0.0, 800.0), (-800.0, 1.0, 800.0)]
        {
            assert_eq!(
                loss_of(ForecastLoss::Bernoulli, &[output], &[target], 1),
                expected
            );
            assert!((0.0..=1.0).contains(&probability(output)));
        }
        let mut outputs = row(&[0.0, -1e9]);
        let mut losses = ForecastLosses::default();
        let loss = losses.forward_backward(ForecastLoss::Gaussian, &mut outputs, &row(&[0.0]), 1);
        assert!((loss - (HALF_LOG_TWO_PI + 0.5 * LEAST_LOG_VARIANCE)).abs() < 1e-12);
        // At the bound nothing pulls any further.
        assert_eq!(outputs.get(0, 1), 0.0);
        assert!((deviation(-1e9) - 1e-3).abs() < 1e-12);
        let broken = loss_of(ForecastLoss::Gaussian, &[0.0, f64::NAN], &[0.0], 1);
        assert!(broken.is_nan(), "what is broken must be seen");
    }
}
