//! A vanilla network with batch norm inside its recurrence, in f64, written for this experiment alone.

use rand::RngExt;

use crate::train::{Purpose, keyed_rng};

pub(super) const HIDDEN: usize = 24;
pub(super) const BATCH: usize = 24;
/// Four symbols, four kinds of noise, the blank.
pub(super) const TOKENS: usize = 9;
const CLASSES: usize = 4;
const BLANK: usize = 8;
/// PyTorch's: what is added to a variance, and the share of a new one in the running one.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;
/// Sequences that are scored.
const SCORED: usize = 256;
/// The noise in the first state of [`Form::PerStep`].
const NOISE: f64 = 0.1;
/// The longest norm of a gradient in training.
const CLIP: f64 = 1.0;

/// What is done to the sums of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing.
    None,
    /// The batch's mean and deviation of each step, a gain of 1; in evaluation one running mean for all steps.
    Naive,
    /// The same with running means of each step, a gain that begins at 0.1, and noise in the first state.
    PerStep,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "no norm",
            Self::Naive => "batch norm along time, naive",
            Self::PerStep => "statistics of each step, small gain",
        }
    }

    fn gain(self) -> f64 {
        match self {
            Self::None | Self::Naive => 1.0,
            Self::PerStep => 0.1,
        }
    }
}

/// Blank steps before the symbol, the same for all sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blanks(pub(super) usize);

/// Sequences, step after step, and their answers: blanks, then a symbol, then noise.
pub(super) fn tokens(
    seed: u64,
    number: u64,
    count: usize,
    length: usize,
    blanks: usize,
) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut rng = keyed_rng(seed, Purpose::Shuffle, (1 << 32) | number);
    let labels: Vec<usize> = (0..count).map(|_| rng.random_range(0..CLASSES)).collect();
    let mut steps = vec![vec![BLANK; count]; blanks];
    steps.push(labels.clone());
    for _ in 1..length {
        steps.push(
            (0..count)
                .map(|_| rng.random_range(CLASSES..BLANK))
                .collect(),
        );
    }
    (steps, labels)
}

/// The weights, one after the other, and their gradients in the same order.
#[derive(Clone, Debug)]
struct Weights {
    ih: Vec<f64>,
    hh: Vec<f64>,
    gain: Vec<f64>,
    bias: Vec<f64>,
    out: Vec<f64>,
    out_bias: Vec<f64>,
}

impl Weights {
    fn zeros() -> Self {
        Self {
            ih: vec![0.0; HIDDEN * TOKENS],
            hh: vec![0.0; HIDDEN * HIDDEN],
            gain: vec![0.0; HIDDEN],
            bias: vec![0.0; HIDDEN],
            out: vec![0.0; CLASSES * HIDDEN],
            out_bias: vec![0.0; CLASSES],
        }
    }

    fn parts(&mut self) -> [&mut Vec<f64>; 6] {
        [
            &mut self.ih,
            &mut self.hh,
            &mut self.gain,
            &mut self.bias,
            &mut self.out,
            &mut self.out_bias,
        ]
    }
}

/// A network, its running statistics and Adam's moments.
#[derive(Clone, Debug)]
pub(super) struct InTime {
    form: Form,
    blanks: usize,
    seed: u64,
    weights: Weights,
    first: Weights,
    second: Weights,
    /// Mean and variance by step; of the naive form one for all.
    running: Vec<(Vec<f64>, Vec<f64>)>,
    updates: i32,
}

/// What a step leaves for the way back. Rows are sequences.
struct Step {
    before: Vec<Vec<f64>>,
    normal: Vec<Vec<f64>>,
    factor: Vec<f64>,
    after: Vec<Vec<f64>>,
}

impl InTime {
    pub(super) fn new(form: Form, blanks: Blanks, seed: u64) -> Self {
        let mut rng = keyed_rng(seed, Purpose::Weights, 0);
        let mut weights = Weights::zeros();
        let mut uniform = |values: &mut [f64], bound: f64| {
            for value in values {
                *value = rng.random_range(-bound..bound);
            }
        };
        uniform(&mut weights.ih, libm::sqrt(6.0 / (HIDDEN + TOKENS) as f64));
        uniform(&mut weights.hh, libm::sqrt(3.0 / HIDDEN as f64));
        uniform(&mut weights.out, libm::sqrt(1.0 / HIDDEN as f64));
        weights.gain.fill(form.gain());
        Self {
            form,
            blanks: blanks.0,
            seed,
            weights,
            first: Weights::zeros(),
            second: Weights::zeros(),
            running: Vec::new(),
            updates: 0,
        }
    }

    /// The running statistics of a step; of steps that were never seen those of the last.
    fn statistics(&self, t: usize) -> (&[f64], &[f64]) {
        let at = if self.form == Form::Naive { 0 } else { t };
        let statistics = self.running.get(at).or(self.running.last());
        statistics.map_or((&[], &[]), |(mean, variance)| (mean, variance))
    }

    fn take_in(&mut self, t: usize, mean: &[f64], variance: &[f64]) {
        let at = if self.form == Form::Naive { 0 } else { t };
        if self.running.len() <= at {
            self.running.push((vec![0.0; HIDDEN], vec![1.0; HIDDEN]));
        }
        let (running_mean, running_variance) = &mut self.running[at];
        for (running, new) in [(running_mean, mean), (running_variance, variance)] {
            for (running, new) in running.iter_mut().zip(new) {
                *running += MOMENTUM * (new - *running);
            }
        }
    }

    /// Forward; in training with the statistics of the batch, which the running ones take in.
    fn forward(&mut self, tokens: &[Vec<usize>], number: u64, is_training: bool) -> Vec<Step> {
        let count = tokens[0].len();
        let mut h = vec![vec![0.0; HIDDEN]; count];
        if is_training && self.form == Form::PerStep {
            let mut rng = keyed_rng(self.seed, Purpose::Inputs, number);
            for value in h.iter_mut().flatten() {
                *value = rng.random_range(-NOISE..NOISE);
            }
        }
        let mut steps = Vec::new();
        for (t, read) in tokens.iter().enumerate() {
            let weights = &self.weights;
            let sums: Vec<Vec<f64>> = h
                .iter()
                .zip(read)
                .map(|(h, &token)| {
                    let unit = |k: usize| {
                        let row = &weights.hh[k * HIDDEN..][..HIDDEN];
                        let own: f64 = row.iter().zip(h).map(|(w, h)| w * h).sum();
                        weights.ih[k * TOKENS + token] + own
                    };
                    (0..HIDDEN).map(unit).collect()
                })
                .collect();
            let (mean, variance) = match (self.form, is_training) {
                (Form::None, _) => (vec![0.0; HIDDEN], vec![1.0 - EPSILON; HIDDEN]),
                (_, true) => moments(&sums),
                (_, false) => {
                    let (mean, variance) = self.statistics(t);
                    (mean.to_vec(), variance.to_vec())
                }
            };
            if is_training && self.form != Form::None {
                self.take_in(t, &mean, &variance);
            }
            let factor: Vec<f64> = variance
                .iter()
                .map(|v| 1.0 / (v + EPSILON).sqrt())
                .collect();
            let normal = map(&sums, |k, a| (a - mean[k]) * factor[k]);
            let weights = &self.weights;
            let after = map(&normal, |k, z| {
                libm::tanh(weights.gain[k] * z + weights.bias[k])
            });
            steps.push(Step {
                before: h,
                normal,
                factor,
                after: after.clone(),
            });
            h = after;
        }
        steps
    }

    /// The gradient of the state before each step, from that of the last one, and the weights' own.
    fn backward(
        &self,
        tokens: &[Vec<usize>],
        steps: &[Step],
        d_last: Vec<Vec<f64>>,
        gradient: &mut Weights,
    ) -> Vec<Vec<Vec<f64>>> {
        let mut states = vec![d_last];
        for (step, read) in steps.iter().zip(tokens).rev() {
            let d_h = &states[states.len() - 1];
            let count = d_h.len() as f64;
            let mut d_sum = vec![vec![0.0; HIDDEN]; d_h.len()];
            for k in 0..HIDDEN {
                let column = |b: usize| {
                    let y = step.after[b][k];
                    d_h[b][k] * (1.0 - y * y)
                };
                let d: Vec<f64> = (0..d_h.len()).map(column).collect();
                let z = |b: usize| step.normal[b][k];
                let (mut sum, mut with) = (0.0, 0.0);
                for (b, d) in d.iter().enumerate() {
                    sum += d;
                    with += d * z(b);
                }
                gradient.bias[k] += sum;
                gradient.gain[k] += if self.form == Form::None { 0.0 } else { with };
                let (sum, with) = match self.form {
                    Form::None => (0.0, 0.0),
                    _ => (sum / count, with / count),
                };
                let scale = self.weights.gain[k] * step.factor[k];
                for (b, d) in d.iter().enumerate() {
                    d_sum[b][k] = scale * (d - sum - z(b) * with);
                }
            }
            let mut before = vec![vec![0.0; HIDDEN]; d_h.len()];
            for (b, (d, &token)) in d_sum.iter().zip(read).enumerate() {
                for (k, &d) in d.iter().enumerate() {
                    gradient.ih[k * TOKENS + token] += d;
                    let row = k * HIDDEN..(k + 1) * HIDDEN;
                    let weights = gradient.hh[row.clone()].iter_mut();
                    for (d_weight, h) in weights.zip(&step.before[b]) {
                        *d_weight += d * h;
                    }
                    for (before, weight) in before[b].iter_mut().zip(&self.weights.hh[row]) {
                        *before += d * weight;
                    }
                }
            }
            states.push(before);
        }
        states
    }

    /// Before training: the norm of the gradient against distance, and the mean deviation of the sums at each step.
    pub(super) fn gradients(&self, length: usize) -> (Vec<f64>, Vec<f64>) {
        let mut net = self.clone();
        let (tokens, _) = tokens(self.seed, 0, BATCH, length, self.blanks);
        let steps = net.forward(&tokens, 0, true);
        let mut rng = keyed_rng(self.seed, Purpose::Weights, 2);
        let mut d_last = vec![vec![0.0; HIDDEN]; BATCH];
        for row in &mut d_last {
            for value in row.iter_mut() {
                *value = rng.random_range(-1.0..1.0);
            }
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        let states = self.backward(&tokens, &steps, d_last, &mut Weights::zeros());
        let norm = |rows: &Vec<Vec<f64>>| {
            let norms = rows
                .iter()
                .map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt());
            norms.sum::<f64>() / rows.len() as f64
        };
        // The first state is a given one, as with layer norm.
        let norms = states[..states.len() - 1].iter().map(norm).collect();
        let deviation = |step: &Step| match self.form {
            Form::None => {
                let (_, variance) = moments(&step.normal);
                variance.iter().map(|v| v.sqrt()).sum::<f64>() / HIDDEN as f64
            }
            _ => step.factor.iter().map(|f| 1.0 / f).sum::<f64>() / HIDDEN as f64,
        };
        (norms, steps.iter().map(deviation).collect())
    }

    /// One step of Adam with one clipping norm; the loss, nats.
    pub(super) fn learn(&mut self, number: u64, length: usize, learning_rate: f64) -> f64 {
        let (tokens, labels) = tokens(self.seed, number + 1, BATCH, length, self.blanks);
        let steps = self.forward(&tokens, number, true);
        let last = &steps[steps.len() - 1].after;
        let mut gradient = Weights::zeros();
        let mut loss = 0.0;
        let mut d_last = Vec::new();
        for (h, &label) in last.iter().zip(&labels) {
            let (probabilities, own) = self.answer(h, label);
            loss += own / BATCH as f64;
            let mut d_h = vec![0.0; HIDDEN];
            for (class, p) in probabilities.iter().enumerate() {
                let d = (p - f64::from(u8::from(class == label))) / BATCH as f64;
                gradient.out_bias[class] += d;
                for (k, d_h) in d_h.iter_mut().enumerate() {
                    gradient.out[class * HIDDEN + k] += d * h[k];
                    *d_h += d * self.weights.out[class * HIDDEN + k];
                }
            }
            d_last.push(d_h);
        }
        self.backward(&tokens, &steps, d_last, &mut gradient);
        self.update(gradient, learning_rate);
        loss
    }

    fn update(&mut self, mut gradient: Weights, learning_rate: f64) {
        let squares = gradient
            .parts()
            .map(|part| part.iter().map(|g| g * g).sum::<f64>());
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            // A gradient that is no number moves nothing.
            return;
        }
        let scale = if norm > CLIP { CLIP / norm } else { 1.0 };
        self.updates += 1;
        let t = f64::from(self.updates);
        let (one, two) = (1.0 - libm::pow(0.9, t), 1.0 - libm::pow(0.999, t));
        let parts = self.weights.parts().into_iter().zip(gradient.parts());
        let moments = self.first.parts().into_iter().zip(self.second.parts());
        for ((weights, gradient), (first, second)) in parts.zip(moments) {
            let moments = first.iter_mut().zip(second.iter_mut());
            for ((weight, g), (m, v)) in weights.iter_mut().zip(gradient.iter()).zip(moments) {
                let g = g * scale;
                *m += 0.1 * (g - *m);
                *v += 0.001 * (g * g - *v);
                *weight -= learning_rate * (*m / one) / ((*v / two).sqrt() + 1e-8);
            }
        }
    }

    /// The probabilities of the classes, and the loss of a label.
    fn answer(&self, h: &[f64], label: usize) -> (Vec<f64>, f64) {
        let score = |class: usize| {
            let row = &self.weights.out[class * HIDDEN..][..HIDDEN];
            let own: f64 = row.iter().zip(h).map(|(w, h)| w * h).sum();
            own + self.weights.out_bias[class]
        };
        let scores: Vec<f64> = (0..CLASSES).map(score).collect();
        let most = scores
            .iter()
            .fold(f64::NEG_INFINITY, |most: f64, &score| most.max(score));
        let exps: Vec<f64> = scores.iter().map(|score| libm::exp(score - most)).collect();
        let sum: f64 = exps.iter().sum();
        let loss = libm::log(sum) + most - scores[label];
        (exps.into_iter().map(|e| e / sum).collect(), loss)
    }

    /// The share right in evaluation, of sequences of this length.
    pub(super) fn right(&mut self, length: usize) -> f64 {
        let (tokens, labels) = tokens(self.seed, 1 << 31, SCORED, length, self.blanks);
        let steps = self.forward(&tokens, 0, false);
        let last = &steps[steps.len() - 1].after;
        let right = last.iter().zip(&labels).filter(|&(h, &label)| {
            let (probabilities, _) = self.answer(h, label);
            let best = (0..CLASSES).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
            best == Some(label)
        });
        right.count() as f64 / SCORED as f64
    }
}

/// Mean and variance of each unit over the rows.
fn moments(rows: &[Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let count = rows.len() as f64;
    let mean: Vec<f64> = (0..HIDDEN)
        .map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / count)
        .collect();
    let variance = (0..HIDDEN)
        .map(|k| {
            let off = rows
                .iter()
                .map(|row| (row[k] - mean[k]) * (row[k] - mean[k]));
            off.sum::<f64>() / count
        })
        .collect();
    (mean, variance)
}

fn map(rows: &[Vec<f64>], by: impl Fn(usize, f64) -> f64) -> Vec<Vec<f64>> {
    let row = |row: &Vec<f64>| row.iter().enumerate().map(|(k, &x)| by(k, x)).collect();
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The backward pass, written by hand for this experiment, against finite differences.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for form in [Form::None, Form::Naive, Form::PerStep] {
            let net = InTime::new(form, Blanks(1), 3);
            let (tokens, labels) = tokens(3, 9, 5, 4, 1);
            let loss = |net: &InTime| -> f64 {
                let steps = net.clone().forward(&tokens, 0, true);
                let last = &steps[steps.len() - 1].after;
                last.iter()
                    .zip(&labels)
                    .map(|(h, &label)| net.answer(h, label).1)
                    .sum()
            };
            let mut gradient = Weights::zeros();
            let steps = net.clone().forward(&tokens, 0, true);
            let d_last = steps[steps.len() - 1]
                .after
                .iter()
                .zip(&labels)
                .map(|(h, &label)| {
                    let (p, _) = net.answer(h, label);
                    let d_h = |k: usize| {
                        let term = |class: usize| {
                            let d = p[class] - f64::from(u8::from(class == label));
                            d * net.weights.out[class * HIDDEN + k]
                        };
                        (0..CLASSES).map(term).sum()
                    };
                    (0..HIDDEN).map(d_h).collect()
                });
            net.backward(&tokens, &steps, d_last.collect(), &mut gradient);
            for part in 0..4 {
                for at in [0, 5, 17] {
                    let moved = |by: f64| {
                        let mut net = net.clone();
                        net.weights.parts()[part][at] += by;
                        loss(&net)
                    };
                    let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    let analytic = gradient.parts()[part][at];
                    let is_gain = part == 2 && form == Form::None;
                    assert!(
                        is_gain || (numeric - analytic).abs() < 1e-6 * (1.0 + numeric.abs()),
                        "{form:?} part {part} at {at}: {numeric} {analytic}"
                    );
                }
            }
        }
    }
}
