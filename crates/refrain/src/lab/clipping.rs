//! One clipping norm over all parameters keeps a run from exploding, and keeps the gradient's direction.

use refrain_kernels::Compute;

use super::chart::{chart, curve, linear, log, smoothed, whole};
use super::figures::shown;
use super::text::{Cut, latin, small, task};
use super::training::{History, sgd, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::models::LanguageModel;
use crate::nn::{CellKind, Init, Layer, Parameters as _};
use crate::optim::{Optimizer, gradient_norm};
use crate::run::plot::Mark;
use crate::train::events::Step;
use crate::train::{LanguageModelData, LanguageModelTask, Task as _, TrainConfig};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "clipping",
    claim: "Where the L2 norm of the gradient passes a threshold, scaling it down to the threshold lets a run converge that explodes \
            without.",
    measures: "the same run with and without clipping: loss, norm before and after at each step; the angle by which clipping each tensor by \
               itself turns the gradient, beside that of one norm for all",
    cause: "the threshold; in its place it is infinite",
    work,
};

/// The clipping norm.
const THRESHOLD: f64 = 0.1;
/// Plain gradient descent with steps of a length of at most 1, the rate times the threshold.
const LEARNING_RATE: f64 = 10.0;
/// What W_hh, orthogonal, is multiplied by: gradients over fifty steps explode.
const SCALE: f64 = 2.5;
/// A run has converged if its loss fell to this share of the first.
const CONVERGED: f64 = 0.8;
/// It exploded if its loss stands at this share of the first or above, or is no number.
const EXPLODED: f64 = 1.0;
/// The rounding of one factor for all numbers of a gradient, in degrees.
const SAME_DIRECTION: f64 = 1e-3;
/// A direction that has turned, in degrees.
const TURNED: f64 = 5.0;
/// Steps whose mean loss counts at the end.
const LAST: usize = 20;

fn model_task(conditions: &Conditions<'_>, data: &LanguageModelData) -> Result<LanguageModelTask> {
    let mut config = small(CellKind::Rnn, conditions.choose(48, 96));
    config.init = Init::Orthogonal;
    let cut = Cut {
        batch: 16,
        bptt: Some(50),
    };
    let mut task = task(&config, data, cut, conditions.seed)?;
    if let Some(Layer::Rnn(layer)) = task.model_mut().stack.layers.first_mut() {
        for weight in &mut layer.weight_hh.value {
            *weight *= SCALE as f32;
        }
    }
    Ok(task)
}

/// The angle between a model's gradient and the same with each tensor clipped by itself, and with all clipped by one norm, in
/// degrees.
fn angles(compute: &Compute, model: &LanguageModel<f32>, threshold: f64) -> (f64, f64) {
    let all = gradient_norm(compute, model);
    let factor = |norm: f64| {
        if norm > threshold {
            threshold / norm
        } else {
            1.0
        }
    };
    let (mut whole, mut each, mut with_each, mut one, mut with_one) = (0.0, 0.0, 0.0, 0.0, 0.0);
    model.visit(&mut |parameter| {
        let own: f64 = parameter
            .grad
            .iter()
            .map(|&g| f64::from(g) * f64::from(g))
            .sum();
        for &g in &parameter.grad {
            let g = f64::from(g);
            // The one factor is applied in f32, as the optimiser does.
            let by_each = g * factor(own.sqrt());
            let by_one = f64::from((g as f32) * (factor(all) as f32));
            whole += g * g;
            each += by_each * by_each;
            with_each += g * by_each;
            one += by_one * by_one;
            with_one += g * by_one;
        }
    });
    let angle = |with: f64, other: f64| {
        let cosine = with / (whole * other).sqrt();
        libm::acos(cosine.clamp(-1.0, 1.0)).to_degrees()
    };
    (angle(with_each, each), angle(with_one, one))
}

/// The angles along a run.
#[derive(Debug, Default)]
struct Angles {
    /// Clipping each tensor by itself, at each step.
    each: Vec<f64>,
    /// The greatest of one norm for all.
    of_one: f64,
}

impl Angles {
    fn most(&self) -> f64 {
        self.each
            .iter()
            .fold(0.0, |most: f64, &angle| most.max(angle))
    }

    fn mean(&self) -> f64 {
        self.each.iter().sum::<f64>() / self.each.len().max(1) as f64
    }
}

/// The run with clipping once more, with a look at every gradient before it is clipped.
fn turned(
    conditions: &Conditions<'_>,
    data: &LanguageModelData,
    threshold: f64,
    config: &TrainConfig,
    steps: u64,
) -> Result<Angles> {
    let compute = conditions.compute;
    let mut task = model_task(conditions, data)?;
    let mut optimizer = Optimizer::new(&config.optimizer, task.model());
    let mut angles = Angles::default();
    for step in 0..steps {
        task.step(compute, step);
        let (each, one) = self::angles(compute, task.model(), threshold);
        angles.each.push(each);
        angles.of_one = angles.of_one.max(one);
        let update = optimizer.clip(gradient_norm(compute, task.model()));
        let rate = config.optimizer.learning_rate;
        optimizer.update(compute, task.model_mut(), step + 1, rate, update);
    }
    Ok(angles)
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let data = latin()?;
    let steps = conditions.choose(200, 1500);
    let threshold = if conditions.without_cause {
        f64::INFINITY
    } else {
        THRESHOLD
    };
    let config = |clip_norm| sgd(steps, LEARNING_RATE, clip_norm, conditions.seed);
    let run = |clip_norm: Option<f64>| -> Result<History> {
        let mut task = model_task(conditions, &data)?;
        train(conditions, &mut task, &config(clip_norm))
    };
    conditions.say("training without clipping");
    let without = run(None)?;
    conditions.say("training with clipping");
    let with = run(Some(threshold))?;
    conditions.say("angles");
    let config = config(Some(threshold));
    let taken = with.steps.len() as u64;
    let angles = turned(conditions, &data, threshold, &config, taken)?;
    let mut outcome = Outcome::new(&EXPERIMENT);
    decide(&mut outcome, &with, &without, threshold, &angles);
    tabulate(&mut outcome, &with, &without, &angles);
    draw(&mut outcome, &with, &without);
    Ok(outcome)
}

fn most_norm(history: &History) -> f64 {
    let norms = history.steps.iter().map(|step| step.grad_norm);
    norms.fold(0.0, f64::max)
}

fn decide(
    outcome: &mut Outcome,
    with: &History,
    without: &History,
    threshold: f64,
    angles: &Angles,
) {
    let (most, mean, of_one) = (angles.most(), angles.mean(), angles.of_one);
    let first = without.first_loss();
    let (loss_without, loss_with) = (without.last_loss(LAST), with.last_loss(LAST));
    outcome.figure("threshold", threshold);
    outcome.figure("first loss nats", first);
    outcome.figure("last loss without nats", loss_without);
    outcome.figure("last loss with nats", loss_with);
    outcome.figure("largest norm without", most_norm(without));
    outcome.check(
        loss_without >= EXPLODED * first,
        format!(
            "without clipping the run explodes: the loss goes from {} to {} nats (at least {}, no less than at first), the largest norm is {}",
            shown(first),
            shown(loss_without),
            shown(EXPLODED * first),
            shown(most_norm(without))
        ),
    );
    outcome.check(
        loss_with <= CONVERGED * first,
        format!(
            "with a threshold of {threshold} the same run converges: from {} to {} nats (at most {})",
            shown(first),
            shown(loss_with),
            shown(CONVERGED * first)
        ),
    );
    let clipped = with.steps.iter().filter(|step| step.clipped).count();
    let over = with
        .steps
        .iter()
        .any(|step| step.clipped_norm > threshold * (1.0 + 1e-9));
    outcome.figure("steps clipped", clipped);
    outcome.check(
        clipped > 0 && !over,
        format!(
            "{clipped} of {} steps had a norm above the threshold, up to {}; none after clipping",
            with.steps.len(),
            shown(most_norm(with))
        ),
    );
    outcome.figure("angle of clipping each tensor degrees", most);
    outcome.figure("mean angle of clipping each tensor degrees", mean);
    outcome.figure("angle of one norm degrees", of_one);
    outcome.check(
        mean >= TURNED && of_one <= SAME_DIRECTION,
        format!(
            "clipping each tensor by itself turns the gradient by {} degrees on average over the run (at least {TURNED}), by up to {}; one norm for all by up to {} \
             (at most {SAME_DIRECTION})",
            shown(mean),
            shown(most),
            shown(of_one)
        ),
    );
    outcome.seen = format!(
        "A vanilla network whose W_hh is {SCALE} times an orthogonal matrix reads Latin, fifty steps at a time, by plain gradient descent. \
         {}. With the norm held at {THRESHOLD} every step still goes where the gradient points, only less far: the norm before clipping is {} at first and {} on average over the last {LAST} steps.",
        thrown(without),
        shown(with.steps.first().map_or(f64::NAN, |step| step.grad_norm)),
        shown(mean_of_last(with)),
    );
    outcome.beyond = "Clipping does not mend vanishing gradients, and it does not say in which direction the gradient should have pointed: it \
        bounds one step. The norm must be one over all parameters. Clipped tensor by tensor, a gradient whose large tensors are cut and whose small ones are not \
        points elsewhere."
        .into();
}

/// The mean norm of the last steps.
fn mean_of_last(history: &History) -> f64 {
    let last = &history.steps[history.steps.len().saturating_sub(LAST)..];
    last.iter().map(|step| step.grad_norm).sum::<f64>() / last.len().max(1) as f64
}

/// What the norms did in the run without clipping.
fn thrown(without: &History) -> String {
    let most = most_norm(without);
    let at = without.steps.iter().find(|step| step.grad_norm == most);
    let at = at.map_or(0, |step| step.step);
    let others = without.steps.iter().filter(|step| step.step != at);
    let next = others.fold(0.0, |next: f64, step| next.max(step.grad_norm));
    let end = if without.broke.is_some() {
        "; then a number was not finite any more".to_owned()
    } else {
        format!(
            "; after that {} on average over the last {LAST} steps",
            shown(mean_of_last(without))
        )
    };
    format!(
        "Without clipping its gradient has a norm of {} at step {at} (the next largest is {}), and a step in proportion to it throws the weights far from where they were{end}",
        shown(most),
        shown(next)
    )
}

fn tabulate(outcome: &mut Outcome, with: &History, without: &History, angles: &Angles) {
    let mut table = Table::new(
        "norms by step",
        [
            "step",
            "loss without",
            "norm without",
            "loss with",
            "norm before",
            "norm after",
        ],
    );
    for (a, b) in without.steps.iter().zip(&with.steps) {
        let is_shown = a.step <= 5 || a.step.is_multiple_of(20);
        if is_shown {
            table.row([
                a.step.into(),
                a.loss_nats.into(),
                a.grad_norm.into(),
                b.loss_nats.into(),
                b.grad_norm.into(),
                b.clipped_norm.into(),
            ]);
        }
    }
    outcome.table(table);
    // Each step's, for a program: too many for a table.
    for (name, history, of) in [
        (
            "norm without",
            without,
            (|step| step.grad_norm) as fn(&Step) -> f64,
        ),
        ("norm before", with, |step| step.grad_norm),
        ("norm after", with, |step| step.clipped_norm),
    ] {
        outcome.series(name, history.steps.iter().map(of));
    }
    outcome.series(
        "angle of clipping each tensor degrees at each step",
        angles.each.iter().copied(),
    );
}

fn draw(outcome: &mut Outcome, with: &History, without: &History) {
    let over_steps = |values: Vec<f64>| -> Vec<(f64, f64)> {
        let values = values.into_iter().enumerate();
        values.map(|(at, value)| ((at + 1) as f64, value)).collect()
    };
    let losses = |history: &History| over_steps(smoothed(&history.losses(), 5));
    outcome.picture(
        chart(
            "Loss with and without clipping",
            "Without clipping the loss rises and stays; with it the loss falls.",
            (whole("training step"), linear("loss, nats a character (mean of 5 steps)")),
            vec![
                curve("without clipping", 1, Mark::Line, losses(without)),
                curve("with clipping", 0, Mark::Line, losses(with)),
            ],
        ),
        "The same weights, the same batches, the same learning rate: only the norm of the steps differs.",
    );
    let norms = |history: &History, of: &dyn Fn(&Step) -> f64| {
        over_steps(history.steps.iter().map(of).collect())
    };
    outcome.picture(
        chart(
            "Norm of the gradient",
            "The norms before clipping, after it, and without any.",
            (whole("training step"), log("L2 norm over all parameters")),
            vec![
                curve("without clipping", 1, Mark::Thin, norms(without, &|step| step.grad_norm)),
                curve("before clipping", 0, Mark::Thin, norms(with, &|step| step.grad_norm)),
                curve("after clipping", 2, Mark::Line, norms(with, &|step| step.clipped_norm)),
            ],
        ),
        "At first the norm before clipping is far above the threshold; after clipping it is never above it. Without clipping one step of such a length is enough.",
    );
}
