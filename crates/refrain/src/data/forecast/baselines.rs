//! What simple means would say, fitted on the training part: the value that is there, the one a season ago, a linear model.

use refrain_kernels::{
    Compute, GateOrder, Isa, Packed, Panels, RowRun, Scalar as _, Slots, gradient_product, groups,
};
use serde::{Deserialize, Serialize};

use super::{ForecastEncoding, ForecastExamples, ForecastMode, Rows};
use crate::metrics::ForecastErrors;
use crate::nn::{ForecastLoss, Linear, PackedLinear};

/// Steps of a season at most, and rows and columns in which it is looked for.
const LONGEST_SEASON: usize = 1500;
const SEASON_ROWS: usize = 20_000;
const SEASON_COLUMNS: usize = 8;
/// A season whose steps go together less than this is none.
const LEAST_CORRELATION: f64 = 0.2;
/// Of seasons nearly as good as the best the shortest is taken: two days are no better a season than one.
const NEARLY: f64 = 0.75;

/// Steps that the linear model sees at most, and multiplications that its fit may take; beyond, windows are left out evenly.
const LONGEST_LINEAR: usize = 2048;
const LINEAR_WORK: f64 = 2e9;
/// The ridge, as a part of the mean square of what is seen.
const RIDGE: f64 = 1e-4;
/// Rows of a product of the fit or of a score.
const CHUNK: usize = 2048;

/// A linear model of each target's own past, its weights shared by all targets (NLinear), by ridge regression.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearBaseline {
    /// `(horizon, context)`.
    pub weight: Vec<f32>,
    /// `(horizon)`.
    pub bias: Vec<f32>,
}

/// What simple means need to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    /// The steps of a season, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,
    /// How often each target is 1, where it is 0 or 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frequencies: Vec<f64>,
    /// The linear model, if there is one; kept as arrays.
    #[serde(skip)]
    pub linear: Option<LinearBaseline>,
}

/// The season of some columns: the lag by which their changes from step to step go together best.
///
/// Changes are looked at, since a level that drifts goes together with itself at every lag.
pub(super) fn season(
    rows: &Rows,
    columns: &[usize],
    range: std::ops::Range<usize>,
) -> Option<usize> {
    let range = range.end.saturating_sub(SEASON_ROWS).max(range.start)..range.end;
    let longest = LONGEST_SEASON.min(range.len() / 3);
    let mut together = vec![0.0; longest + 1];
    for &column in columns.iter().take(SEASON_COLUMNS) {
        let value = |at: usize| f64::from(rows.row(at)[column]);
        let changes: Vec<f64> = (range.start + 1..range.end)
            .map(|at| value(at) - value(at - 1))
            .collect();
        let mean = changes.iter().sum::<f64>() / changes.len().max(1) as f64;
        let changes: Vec<f64> = changes.iter().map(|change| change - mean).collect();
        let square: f64 = changes.iter().map(|change| change * change).sum();
        if square <= 0.0 {
            continue;
        }
        for (lag, sum) in together.iter_mut().enumerate().skip(1) {
            let pairs = changes.iter().zip(&changes[lag.min(changes.len())..]);
            *sum += pairs.map(|(a, b)| a * b).sum::<f64>() / square;
        }
    }
    // Of what is smooth neighbours go together too: a season is where that comes back after it has fallen.
    let fallen = (1..longest).find(|&lag| together[lag + 1] > together[lag]);
    let fallen = fallen.unwrap_or(longest);
    let best = together[fallen..].iter().copied().fold(0.0, f64::max);
    let is_season = |lag: &usize| {
        let own = together[*lag];
        own >= NEARLY * best
            && own >= together[lag - 1]
            && together.get(lag + 1).is_none_or(|next| own >= *next)
    };
    let least = LEAST_CORRELATION * columns.len().min(SEASON_COLUMNS) as f64;
    (fallen.max(2)..=longest)
        .find(is_season)
        .filter(|_| best >= least)
}

/// The ridge regression of the steps after each window on those in it, counted from the last one.
pub(super) fn linear(
    rows: &Rows,
    examples: &ForecastExamples,
    context: usize,
    horizon: usize,
) -> Option<LinearBaseline> {
    if context > LONGEST_LINEAR {
        return None;
    }
    let (depth, targets) = (context + 1, examples.targets());
    let work = (examples.len() * targets.len()) as f64 * (depth * (depth + horizon)) as f64;
    let stride = (work / LINEAR_WORK).ceil().max(1.0) as usize;
    let pairs: Vec<(usize, usize)> = examples
        .items()
        .iter()
        .step_by(stride)
        .flat_map(|&item| targets.iter().map(move |&column| (item, column)))
        .collect();
    let compute = Compute::single(Isa::detect());
    let mut squares = Packed::default();
    let mut products = Packed::default();
    squares.reset(groups(depth), depth);
    products.reset(groups(horizon), depth);
    let (mut x, mut y) = (Panels::new(0, depth), Panels::new(0, horizon));
    let (mut seen, mut wanted) = (vec![1.0; depth], vec![0.0; horizon]);
    for chunk in pairs.chunks(CHUNK) {
        x.resize(chunk.len(), depth);
        y.resize(chunk.len(), horizon);
        for (at, &(item, column)) in chunk.iter().enumerate() {
            let value = |row: usize| f64::from(rows.row(row)[column]);
            let last = value(item - 1);
            let steps = seen[..context].iter_mut().zip(item - context..);
            steps.for_each(|(to, row)| *to = value(row) - last);
            let steps = wanted.iter_mut().zip(item..);
            steps.for_each(|(to, row)| *to = value(row) - last);
            x.copy_from_rows(at, &seen);
            y.copy_from_rows(at, &wanted);
        }
        let run = [RowRun {
            a: 0,
            b: 0,
            rows: chunk.len(),
        }];
        gradient_product(&compute, &run, &x, &x, Slots::PLAIN, &mut squares);
        gradient_product(&compute, &run, &x, &y, Slots::PLAIN, &mut products);
    }
    let mut matrix = vec![0.0; depth * depth];
    let mut right = vec![0.0; horizon * depth];
    squares.unpack(&mut matrix, GateOrder::plain(depth));
    products.unpack(&mut right, GateOrder::plain(horizon));
    let trace: f64 = (0..context).map(|at| matrix[at * depth + at]).sum();
    let ridge = RIDGE * trace / context as f64 + 1e-9 * pairs.len().max(1) as f64;
    for at in 0..context {
        matrix[at * depth + at] += ridge;
    }
    cholesky(&mut matrix, depth)?;
    let mut baseline = LinearBaseline {
        weight: Vec::with_capacity(horizon * context),
        bias: Vec::with_capacity(horizon),
    };
    for right in right.chunks_exact_mut(depth) {
        solve(&matrix, depth, right);
        baseline
            .weight
            .extend(right[..context].iter().map(|&weight| weight as f32));
        baseline.bias.push(right[context] as f32);
    }
    let all = baseline.weight.iter().chain(&baseline.bias);
    all.clone()
        .all(|value| value.is_finite())
        .then_some(baseline)
}

/// The lower factor of a symmetric matrix in its place; `None` where it is not positive.
fn cholesky(matrix: &mut [f64], size: usize) -> Option<()> {
    for column in 0..size {
        for row in column..size {
            let mut sum = matrix[row * size + column];
            for k in 0..column {
                sum -= matrix[row * size + k] * matrix[column * size + k];
            }
            if row == column {
                if sum <= 0.0 || !sum.is_finite() {
                    return None;
                }
                matrix[row * size + row] = sum.sqrt();
            } else {
                matrix[row * size + column] = sum / matrix[column * size + column];
            }
        }
    }
    Some(())
}

/// Solves with such a factor.
fn solve(factor: &[f64], size: usize, right: &mut [f64]) {
    for row in 0..size {
        let mut sum = right[row];
        for k in 0..row {
            sum -= factor[row * size + k] * right[k];
        }
        right[row] = sum / factor[row * size + row];
    }
    for row in (0..size).rev() {
        let mut sum = right[row];
        for k in row + 1..size {
            sum -= factor[k * size + row] * right[k];
        }
        right[row] = sum / factor[row * size + row];
    }
}

/// How often each target is 1, counted with one more of both, so that nothing is impossible.
pub(super) fn frequencies(examples: &ForecastExamples, encoding: &ForecastEncoding) -> Vec<f64> {
    let rows = examples.rows();
    let targets = encoding.targets.len();
    let (mut ones, mut all) = (vec![1.0; targets], 2.0);
    let mut add = |row: &[f32], columns: &dyn Fn(usize) -> usize| {
        all += 1.0;
        let each = ones.iter_mut().enumerate();
        each.for_each(|(target, sum)| *sum += f64::from(row[columns(target)]));
    };
    match (encoding.mode, &rows.given) {
        (ForecastMode::Given { .. }, Some(given)) => {
            given
                .chunks_exact(targets)
                .for_each(|row| add(row, &|target| target));
        }
        (ForecastMode::Windows { horizon, .. }, _) => {
            let column = |target: usize| encoding.targets[target];
            for &item in examples.items() {
                (item..item + horizon).for_each(|at| add(rows.row(at), &column));
            }
        }
        _ => {
            let column = |target: usize| encoding.targets[target];
            for &item in examples.items() {
                let (start, end) = rows.bounds(item);
                (start..end).for_each(|at| add(rows.row(at), &column));
            }
        }
    }
    ones.into_iter().map(|sum| sum / all).collect()
}

impl Baselines {
    /// How far off each simple means is on some examples, by its name, the plainest first.
    ///
    /// # Panics
    /// Where what is wanted is not known.
    #[must_use]
    pub fn errors(
        &self,
        compute: &Compute,
        encoding: &ForecastEncoding,
        examples: &ForecastExamples,
    ) -> Vec<(&'static str, ForecastErrors)> {
        match encoding.mode {
            _ if encoding.loss == ForecastLoss::Bernoulli => {
                vec![("frequency", self.frequency_errors(encoding, examples))]
            }
            ForecastMode::Windows { context, horizon } => {
                let mut all = vec![("last", window_errors(examples, horizon, &|_, _, last| last))];
                if let Some(season) = self.season {
                    let rows = examples.rows();
                    let seasonal = |at: (usize, usize), column: usize, last: f32| {
                        let (item, step) = at;
                        let back = season * (step / season + 1);
                        let start = rows.bounds(rows.ends.partition_point(|&end| end < item)).0;
                        (item + step)
                            .checked_sub(back)
                            .filter(|&row| row >= start)
                            .map_or(last, |row| rows.row(row)[column])
                    };
                    all.push(("seasonal", window_errors(examples, horizon, &seasonal)));
                }
                if let Some(linear) = &self.linear {
                    let errors = linear.errors(compute, examples, context, horizon);
                    all.push(("linear", errors));
                }
                all
            }
            ForecastMode::NextStep {} => vec![("last", step_errors(examples))],
            ForecastMode::Given { .. } => vec![("mean", given_errors(examples))],
        }
    }

    /// The loss, nats a step, of what always says how often each target is 1.
    #[must_use]
    pub fn frequency_loss(&self, errors: &ForecastErrors) -> f64 {
        // The mean absolute error of a probability p is twice the variance only on the training part; so from the counts.
        let each = self.frequencies.iter().enumerate();
        each.map(|(target, &p)| {
            let ones = errors.mean_of(target) + p;
            -(ones * libm::log(p) + (1.0 - ones) * libm::log(1.0 - p))
        })
        .sum()
    }

    fn frequency_errors(
        &self,
        encoding: &ForecastEncoding,
        examples: &ForecastExamples,
    ) -> ForecastErrors {
        let mut errors = ForecastErrors::new(encoding.targets.len());
        let (mut batch, mut targets) = (crate::models::SequenceBatch::default(), Panels::default());
        let wanted = encoding.targets.len();
        for at in 0..examples.len() {
            examples.fill(&[at], &mut batch);
            examples.fill_targets(&[at], &batch.steps, &mut targets);
            for row in 0..targets.rows() {
                for column in 0..targets.columns() {
                    let target = column % wanted;
                    let truth = targets.get(row, column).to_f64();
                    errors.add(target, truth - self.frequencies[target]);
                }
            }
        }
        errors
    }
}

/// The errors of something that says a number of a step of a window and a column, given the last number seen.
fn window_errors(
    examples: &ForecastExamples,
    horizon: usize,
    say: &dyn Fn((usize, usize), usize, f32) -> f32,
) -> ForecastErrors {
    let (rows, targets) = (examples.rows(), examples.targets());
    let mut errors = ForecastErrors::new(targets.len());
    for &item in examples.items() {
        for step in 0..horizon {
            for (target, &column) in targets.iter().enumerate() {
                let last = rows.row(item - 1)[column];
                let said = say((item, step), column, last);
                let truth = rows.row(item + step)[column];
                errors.add(target, f64::from(said) - f64::from(truth));
            }
        }
    }
    errors
}

/// The errors of saying each step again; of the first one, of saying the mean.
fn step_errors(examples: &ForecastExamples) -> ForecastErrors {
    let (rows, targets) = (examples.rows(), examples.targets());
    let mut errors = ForecastErrors::new(targets.len());
    for &item in examples.items() {
        let (start, end) = rows.bounds(item);
        for at in start..end {
            for (target, &column) in targets.iter().enumerate() {
                let said = if at == start {
                    0.0
                } else {
                    rows.row(at - 1)[column]
                };
                errors.add(target, f64::from(said) - f64::from(rows.row(at)[column]));
            }
        }
    }
    errors
}

/// The errors of saying the mean of the training part.
fn given_errors(examples: &ForecastExamples) -> ForecastErrors {
    let targets = examples.targets().len();
    let mut errors = ForecastErrors::new(targets);
    let given = examples.rows().given.as_deref().unwrap_or_default();
    for (at, &value) in given.iter().enumerate() {
        errors.add(at % targets, -f64::from(value));
    }
    errors
}

impl LinearBaseline {
    fn errors(
        &self,
        compute: &Compute,
        examples: &ForecastExamples,
        context: usize,
        horizon: usize,
    ) -> ForecastErrors {
        let (rows, targets) = (examples.rows(), examples.targets());
        let mut layer = Linear::zeros("linear", context, horizon);
        layer.weight.value.copy_from_slice(&self.weight);
        layer.bias.value.copy_from_slice(&self.bias);
        let mut packed = PackedLinear::default();
        layer.pack(&mut packed, false);
        let mut errors = ForecastErrors::new(targets.len());
        let (mut seen, mut said) = (Panels::new(0, context), Panels::default());
        let mut past = vec![0.0; context];
        for chunk in examples.items().chunks((CHUNK / targets.len()).max(1)) {
            seen.resize(chunk.len() * targets.len(), context);
            for (at, &item) in chunk.iter().enumerate() {
                for (target, &column) in targets.iter().enumerate() {
                    let last = rows.row(item - 1)[column];
                    let steps = past.iter_mut().zip(item - context..);
                    steps.for_each(|(to, row)| *to = rows.row(row)[column] - last);
                    seen.copy_from_rows(at * targets.len() + target, &past);
                }
            }
            layer.forward(compute, &packed, &seen, &mut said);
            for (at, &item) in chunk.iter().enumerate() {
                for step in 0..horizon {
                    for (target, &column) in targets.iter().enumerate() {
                        let last = f64::from(rows.row(item - 1)[column]);
                        let ahead = said.get(at * targets.len() + target, step);
                        let truth = f64::from(rows.row(item + step)[column]);
                        errors.add(target, last + f64::from(ahead) - truth);
                    }
                }
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_positive_system_is_solved() {
        let mut matrix = vec![4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let whole = matrix.clone();
        let wanted = [1.0, -2.0, 0.5];
        let mut right: Vec<f64> = (0..3)
            .map(|row| (0..3).map(|k| whole[row * 3 + k] * wanted[k]).sum())
            .collect();
        cholesky(&mut matrix, 3).unwrap();
        solve(&matrix, 3, &mut right);
        let near = right.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{right:?}");
        assert_eq!(cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2), None);
    }

    #[test]
    fn a_season_is_found_under_a_drift() {
        let rows = |season: Option<usize>| {
            let value = |at: usize| {
                let noise = ((at * 7919) % 101) as f32 / 101.0;
                let peak = season.is_some_and(|season| at % season < 2);
                at as f32 * 0.01 + 0.1 * noise + if peak { 3.0 } else { 0.0 }
            };
            Rows {
                values: (0..900).map(value).collect(),
                features: 1,
                ends: vec![900],
                given: None,
            }
        };
        assert_eq!(season(&rows(Some(12)), &[0], 0..900), Some(12));
        assert_eq!(season(&rows(Some(7)), &[0], 100..900), Some(7));
        // Smooth: neighbours go together best of all.
        let sine = |at: usize| libm::sinf(at as f32 * std::f32::consts::TAU / 24.0);
        let smooth = Rows {
            values: (0..900).map(sine).collect(),
            features: 1,
            ends: vec![900],
            given: None,
        };
        assert_eq!(season(&smooth, &[0], 0..900), Some(24));
        let flat = Rows {
            values: vec![1.0; 90],
            features: 1,
            ends: vec![90],
            given: None,
        };
        assert_eq!(season(&flat, &[0], 0..90), None);
    }
}
