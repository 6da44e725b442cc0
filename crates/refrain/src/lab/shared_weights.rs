//! One matrix for all steps: its gradient is the sum of what each step gives.

use ndarray::{Array2, Array3, s};
use rand::RngExt;
use refrain_kernels::{Panels, RnnCell};

use super::chart::{chart, curve, linear, whole};
use super::figures::shown;
use super::flow::panels;
use super::{Conditions, Experiment, Outcome, Table};
use crate::data::demo;
use crate::error::Result;
use crate::nn::{Init, Linear, PackedLinear, Recurrent, SoftmaxCrossEntropy, State, Steps};
use crate::run::plot::Mark;
use crate::train::{Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "shared-weights",
    claim: "The same weights are used at every step; the loss is the sum of the steps' losses, and the gradient of the weights \
            the sum of the steps' local gradients.",
    measures: "every L_t and their sum; every step's local gradient of W_hh and their sum, beside the gradient of a pass over the \
               whole sequence and beside finite differences; one step, a chunk and the whole sequence",
    cause: "the weights are shared; in their place each step has weights of its own",
    work,
};

/// The order of additions differs by no more than the last bits of f64.
const SAME: f64 = 1e-12;
/// Central differences of f64 with a step of 1e-5 are right to about 1e-10.
const DIFFERENCE: f64 = 1e-5;
const SAME_AS_DIFFERENCES: f64 = 1e-7;
/// How far weights that are not shared lie apart.
const APART: f64 = 0.5;

type Rnn = Recurrent<f64, RnnCell>;

/// A network that guesses the next letter.
struct Net {
    rnn: Rnn,
    linear: Linear<f64>,
}

/// What the whole sequence gives.
struct Whole {
    losses: Vec<f64>,
    /// The loss of the sequence, of one pass.
    total: f64,
    /// The gradient of the sum of the losses.
    d_output: Array3<f64>,
    output: Array3<f64>,
    gradient: Vec<f64>,
}

/// The letters of a text as vectors with a single 1, and what comes after each.
fn one_hot(text: &str) -> (Array3<f64>, Vec<u32>, usize) {
    let mut letters: Vec<char> = Vec::new();
    for letter in text.chars() {
        if !letters.contains(&letter) {
            letters.push(letter);
        }
    }
    let place = |letter| {
        letters
            .iter()
            .position(|&known| known == letter)
            .unwrap_or(0)
    };
    let ids: Vec<usize> = text.chars().map(place).collect();
    let mut x = Array3::zeros((ids.len() - 1, 1, letters.len()));
    for (t, &id) in ids[..ids.len() - 1].iter().enumerate() {
        x[(t, 0, id)] = 1.0;
    }
    let targets = ids[1..].iter().map(|&id| id as u32).collect();
    (x, targets, letters.len())
}

impl Net {
    fn new(letters: usize, hidden: usize, seed: u64) -> Self {
        let mut rng = keyed_rng(seed, Purpose::Weights, 0);
        let mut rnn = Rnn::zeros(RnnCell::Tanh, "rnn", 0, letters, hidden);
        rnn.initialise(Init::Uniform, &mut rng);
        let mut linear = Linear::zeros("linear", hidden, letters);
        linear.initialise(&mut rng);
        Self { rnn, linear }
    }

    /// The losses of hidden states, the gradient of their sum, and the loss of all of them.
    fn losses(
        &mut self,
        conditions: &Conditions<'_>,
        output: &Array3<f64>,
        targets: &[u32],
    ) -> (Vec<f64>, Array3<f64>, f64) {
        let steps = Steps::uniform(targets.len(), 1);
        let hidden = output.dim().2;
        let flat = Array2::from_shape_fn((targets.len(), hidden), |(t, k)| output[(t, 0, k)]);
        let h = panels(&flat);
        let (mut packed, mut scores) = (PackedLinear::default(), Panels::default());
        self.linear.pack(&mut packed, true);
        self.linear
            .forward(conditions.compute, &packed, &h, &mut scores);
        let mut softmax = SoftmaxCrossEntropy::default();
        let total = softmax.forward_backward(conditions.compute, &mut scores, targets);
        let mut d_h = Panels::default();
        self.linear.backward(
            conditions.compute,
            &mut packed,
            &steps,
            &h,
            &scores,
            &mut d_h,
        );
        let count = targets.len() as f64;
        let d_output = Array3::from_shape_fn(output.dim(), |(t, _, k)| d_h.get(t, k) * count);
        (softmax.losses().to_vec(), d_output, total)
    }

    fn whole(
        &mut self,
        conditions: &Conditions<'_>,
        x: &Array3<f64>,
        targets: &[u32],
    ) -> Result<Whole> {
        let (output, _, mut pass) = self.rnn.forward(conditions.compute, x.view(), None)?;
        let (losses, d_output, total) = self.losses(conditions, &output, targets);
        self.rnn
            .backward(conditions.compute, &mut pass, d_output.view(), None)?;
        let gradient = self.rnn.weight_hh.grad.clone();
        Ok(Whole {
            losses,
            total,
            d_output,
            output,
            gradient,
        })
    }

    /// The sequence in pieces of so many steps, each by a layer of its own: the outputs, and the gradient that each piece
    /// gives its `W_hh`. The gradient of the state goes on from piece to piece.
    fn in_pieces(
        &self,
        conditions: &Conditions<'_>,
        x: &Array3<f64>,
        d_output: &Array3<f64>,
        piece: usize,
    ) -> Result<(Array3<f64>, Vec<Vec<f64>>)> {
        let compute = conditions.compute;
        let mut rng = keyed_rng(conditions.seed, Purpose::Weights, 1);
        let mut state = State::zeros::<RnnCell>(1, self.rnn.hidden_size());
        let (mut passes, mut output) = (Vec::new(), Array3::zeros(d_output.dim()));
        for from in (0..x.dim().0).step_by(piece) {
            let to = (from + piece).min(x.dim().0);
            let mut layer = self.rnn.clone();
            if conditions.without_cause {
                for weight in &mut layer.weight_hh.value {
                    *weight += rng.random_range(-APART..APART);
                }
            }
            let (part, new, pass) =
                layer.forward(compute, x.slice(s![from..to, .., ..]), Some(&state))?;
            output.slice_mut(s![from..to, .., ..]).assign(&part);
            state = new;
            passes.push((from..to, layer, pass));
        }
        let mut d_state = State::zeros::<RnnCell>(1, self.rnn.hidden_size());
        let mut gradients = Vec::new();
        for (steps, mut layer, mut pass) in passes.into_iter().rev() {
            let d_part = d_output.slice(s![steps, .., ..]);
            (_, d_state) = layer.backward(compute, &mut pass, d_part, Some(&d_state))?;
            gradients.push(layer.weight_hh.grad);
        }
        gradients.reverse();
        Ok((output, gradients))
    }

    /// The greatest distance between the gradient of `W_hh` and central differences.
    fn against_differences(
        &mut self,
        conditions: &Conditions<'_>,
        x: &Array3<f64>,
        targets: &[u32],
        gradient: &[f64],
    ) -> Result<f64> {
        let mut most = 0.0f64;
        for (at, &analytic) in gradient.iter().enumerate() {
            let kept = self.rnn.weight_hh.value[at];
            let mut sum_at = |weight: f64| -> Result<f64> {
                self.rnn.weight_hh.value[at] = weight;
                let (output, _, _) = self.rnn.forward(conditions.compute, x.view(), None)?;
                Ok(self.losses(conditions, &output, targets).0.iter().sum())
            };
            let rise = sum_at(kept + DIFFERENCE)? - sum_at(kept - DIFFERENCE)?;
            self.rnn.weight_hh.value[at] = kept;
            most = most.max((rise / (2.0 * DIFFERENCE) - analytic).abs());
        }
        Ok(most)
    }
}

/// The sum of gradients, from the last step to the first, as the layer adds them.
fn sum(gradients: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; gradients.first().map_or(0, Vec::len)];
    for gradient in gradients.iter().rev() {
        for (sum, part) in sum.iter_mut().zip(gradient) {
            *sum += part;
        }
    }
    sum
}

/// The greatest difference of two, in parts of the greatest number of the second.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let size = b.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let most = a
        .iter()
        .zip(b)
        .fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
    most / size.max(f64::MIN_POSITIVE)
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::new(&EXPERIMENT);
    decide(conditions, &mut outcome, "hello", 3, true)?;
    if !conditions.quick {
        let text: String = demo::latin().chars().take(200).collect();
        decide(conditions, &mut outcome, &text, 32, false)?;
    }
    outcome.seen = "The network reads h, e, l, l with one matrix W_hh and guesses e, l, l, o. Each guess has its loss L_t, \
        and L is their sum. A backward pass over the whole word gives one gradient of W_hh. Taken step by step, with a copy of W_hh for \
        each step, the same backward pass gives each copy its local gradient; added up from the last step to the first they are \
        the gradient of the one matrix. A step, a chunk and the whole word give the same hidden states, bit for bit."
        .into();
    outcome.beyond = "A local gradient is not what the step's own loss gives: it is what all later losses say about the use of W at this \
        step. Only the steps' outputs are independent of what comes later, not their gradients. And training does not minimise the \
        sum but the mean over the steps, which differs by a factor only."
        .into();
    Ok(outcome)
}

/// All checks on one text.
fn decide(
    conditions: &Conditions<'_>,
    outcome: &mut Outcome,
    text: &str,
    hidden: usize,
    is_shown: bool,
) -> Result<()> {
    conditions.say(format!(
        "{} letters, {hidden} hidden units",
        text.chars().count()
    ));
    let (x, targets, letters) = one_hot(text);
    let mut net = Net::new(letters, hidden, conditions.seed);
    let whole = net.whole(conditions, &x, &targets)?;
    let (by_step, local) = net.in_pieces(conditions, &x, &whole.d_output, 1)?;
    let (by_chunk, of_chunks) = net.in_pieces(conditions, &x, &whole.d_output, 2)?;
    // What a network says that reads a step at a time, one loss after the other.
    let mut losses = Vec::new();
    for (t, target) in targets.iter().enumerate() {
        let output = by_step.slice(s![t..=t, .., ..]).to_owned();
        losses.extend(net.losses(conditions, &output, &[*target]).0);
    }
    let total: f64 = losses.iter().sum();
    let name = if is_shown {
        text
    } else {
        "200 letters of Latin"
    };
    if is_shown {
        let each: Vec<_> = losses.iter().map(|&loss| shown(loss)).collect();
        let last = each.len();
        let off = (total - whole.total).abs() / whole.total;
        outcome.check(
            off <= SAME,
            format!(
                "L_1 to L_{last} of `{name}`, each from a step by itself, are {}; their sum {} nats is the loss of the whole pass, but for {} of it (at most {SAME:e})",
                each.join(", "),
                shown(total),
                shown(off)
            ),
        );
        outcome.figure("loss nats", total);
        show(outcome, &whole, &local);
    }
    let off = distance(&sum(&local), &whole.gradient);
    let key = if is_shown { "" } else { " of the longer text" };
    outcome.figure(&format!("sum of local gradients off{key}"), off);
    outcome.check(
        off <= SAME,
        format!(
            "the local gradients of `{name}` add up to the gradient of the whole, but for {} of it (at most {SAME:e})",
            shown(off)
        ),
    );
    let off = distance(&sum(&of_chunks), &whole.gradient);
    outcome.check(
        off <= SAME,
        format!(
            "so do those of chunks of two steps, but for {} of it (at most {SAME:e})",
            shown(off)
        ),
    );
    let same = by_step == whole.output && by_chunk == whole.output;
    outcome.figure(&format!("step chunk and whole agree{key}"), same);
    outcome.check(
        same,
        "a step at a time, two steps at a time and the whole give the same hidden states, bit for bit",
    );
    if is_shown {
        let off = net.against_differences(conditions, &x, &targets, &whole.gradient)?;
        outcome.figure("gradient against finite differences", off);
        outcome.check(
            off <= SAME_AS_DIFFERENCES,
            format!(
                "finite differences of the sum of the losses give that gradient too, but for {} (at most {SAME_AS_DIFFERENCES:e})",
                shown(off)
            ),
        );
    }
    Ok(())
}

/// Tables and pictures of the short word.
fn show(outcome: &mut Outcome, whole: &Whole, local: &[Vec<f64>]) {
    let mut table = Table::new("steps", ["step", "loss nats", "norm of the local gradient"]);
    for (t, (&loss, gradient)) in whole.losses.iter().zip(local).enumerate() {
        table.row([(t + 1).into(), loss.into(), norm(gradient).into()]);
    }
    outcome.table(table);
    let columns = [
        "of", "w11", "w12", "w13", "w21", "w22", "w23", "w31", "w32", "w33",
    ];
    let mut table = Table::new("gradients of W_hh", columns);
    let mut add = |name: String, gradient: &[f64]| {
        let mut row: Vec<super::Figure> = vec![name.into()];
        row.extend(gradient.iter().map(|&x| super::Figure::from(x)));
        table.rows.push(row);
    };
    for (t, gradient) in local.iter().enumerate() {
        add(format!("step {}", t + 1), gradient);
    }
    add("sum".into(), &sum(local));
    add("whole".into(), &whole.gradient);
    outcome.table(table);
    let step = |values: &[f64]| -> Vec<(f64, f64)> {
        let values = values.iter().enumerate();
        values.map(|(t, &value)| ((t + 1) as f64, value)).collect()
    };
    let norms: Vec<f64> = local.iter().map(|gradient| norm(gradient)).collect();
    let series = vec![
        curve("loss L_t, nats", 0, Mark::Dots, step(&whole.losses)),
        curve(
            "norm of the local gradient of W_hh",
            1,
            Mark::Dots,
            step(&norms),
        ),
    ];
    let mut y = linear("loss in nats, and L2 norm of the gradient");
    y.from_zero = true;
    let picture = chart(
        "Loss and local gradient at each step",
        "Every step has a loss and gives the shared matrix a gradient of its own.",
        (whole_steps(), y),
        series,
    );
    outcome.picture(
        picture,
        "Every step of the word has a loss of its own and gives the one matrix a local gradient. The first step's is 0, since h_0 is; the last step's is of its own loss \
         alone; an earlier one's tells of all losses from there on.",
    );
}

fn whole_steps() -> crate::run::plot::Axis {
    whole("step of the word")
}
