//! Batch norm between layers and along time, layer norm in the cell.

mod in_time;

use ndarray::Array3;
use refrain_kernels::RnnCell;

use self::in_time::{Blanks, Form, InTime};
use super::chart::{chart, curve, linear, log, over_index, smoothed, whole};
use super::figures::shown;
use super::flow::{Begin, Path, directions, flow};
use super::problems::{Problem, ProblemTask};
use super::training::{History, adam, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::nn::{CellKind, Init, Layer, Stack};
use crate::run::plot::Mark;
use crate::train::{Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "normalization",
    claim: "Batch norm can be used between layers but not along time, where repeated rescaling lets gradients explode; layer norm in the cell works.",
    measures: "accuracy of batch norm between layers and of layer norm, in training and on sequences twice as long; gradients, losses and the variance at each step of \
               batch norm along time, naive and with statistics of each step and a small gain",
    cause: "sums are rescaled along time by the statistics of the batch; in their place they stay as they are",
    work,
};

/// Steps at the beginning that are the same for all sequences, so that a batch has no variance there.
const BLANKS: usize = 8;
/// A gradient exploded if it grew so much over them.
const EXPLODED: f64 = 1e6;
/// A gradient in its bounds: at most so many times what it was.
const BOUNDED: f64 = 10.0;
/// The share right of a task that was learnt, and of one that was not (guessing is a quarter).
const LEARNT: f64 = 0.9;
const NOT_LEARNT: f64 = 0.6;
/// The same on sequences twice as long as those that were learnt from: most of it.
const LEARNT_LONGER: f64 = 0.7;
/// Steps of the sequences that are learnt from.
const LENGTH: usize = 12;

/// The accuracy of a real network on sequences as long as in training and twice as long.
struct Real {
    name: &'static str,
    right: f64,
    right_longer: f64,
    history: History,
}

fn real(conditions: &Conditions<'_>, name: &'static str, config: ModelConfig) -> Result<Real> {
    conditions.say(format!("training {name}"));
    let steps = conditions.choose(300, 1500);
    let mut task = ProblemTask::new(Problem::Copy, LENGTH, &config, 32, conditions.seed);
    let history = train(conditions, &mut task, &adam(steps, 0.01, conditions.seed))?;
    task.scored_on(2 * LENGTH);
    let longer = crate::train::Task::validate(&mut task, conditions.compute);
    let longer = longer.and_then(|score| score.metrics.get("accuracy").copied());
    Ok(Real {
        name,
        right: history.metric("accuracy"),
        right_longer: longer.unwrap_or(f64::NAN),
        history,
    })
}

fn reals(conditions: &Conditions<'_>) -> Result<Vec<Real>> {
    let plain = ModelConfig {
        cell: CellKind::Lstm,
        hidden_size: 32,
        embedding_size: 8,
        num_layers: 2,
        ..ModelConfig::default()
    };
    let between = ModelConfig {
        batch_norm: true,
        ..plain.clone()
    };
    let inside = ModelConfig {
        layer_norm: true,
        ..plain.clone()
    };
    Ok(vec![
        real(conditions, "no norm", plain)?,
        real(conditions, "batch norm between layers", between)?,
        real(conditions, "layer norm in the cell", inside)?,
    ])
}

/// The gradient against distance through a vanilla cell with layer norm, of the library, that reads blanks, then noise.
fn layer_norm_flow(conditions: &Conditions<'_>, blanks: usize) -> Result<Vec<f64>> {
    let hidden = in_time::HIDDEN;
    let config = ModelConfig {
        cell: CellKind::Rnn,
        hidden_size: hidden,
        layer_norm: true,
        init: Init::Orthogonal,
        ..ModelConfig::default()
    };
    let config = config.stack(in_time::TOKENS);
    let mut rng = keyed_rng(conditions.seed, Purpose::Weights, 0);
    let mut stack = Stack::<f64>::zeros(&config, "rnn");
    stack.initialise(&config, &mut rng);
    let tokens = in_time::tokens(conditions.seed, 0, in_time::BATCH, LENGTH, blanks).0;
    let x = Array3::from_shape_fn(
        (tokens.len(), in_time::BATCH, in_time::TOKENS),
        |(t, b, k)| f64::from(u8::from(tokens[t][b] == k)),
    );
    let d_last = directions(in_time::BATCH, hidden, &mut rng);
    let Some(Layer::Rnn(layer)) = stack.layers.first() else {
        return Ok(Vec::new());
    };
    let last = (Begin::Hidden, &d_last);
    let flow = flow::<RnnCell>(conditions.compute, layer, x.view(), last, Path::All)?;
    // The state before the first step is 0 for every unit: normalised, it says nothing.
    Ok(flow.h[..flow.h.len() - 1].to_vec())
}

/// One form of batch norm along time.
struct Along {
    form: Form,
    blanks: Blanks,
    norms: Vec<f64>,
    deviations: Vec<f64>,
    losses: Vec<f64>,
    right: f64,
    right_longer: f64,
}

impl Along {
    /// The mean training loss of the last steps.
    fn last_loss(&self) -> f64 {
        let last = &self.losses[self.losses.len().saturating_sub(20)..];
        last.iter().sum::<f64>() / last.len() as f64
    }
}

fn along_time(conditions: &Conditions<'_>, form: Form, blanks: Blanks) -> Along {
    let steps = conditions.choose(300, 1500);
    let own = if conditions.without_cause {
        Form::None
    } else {
        form
    };
    let mut net = InTime::new(own, blanks, conditions.seed);
    let (norms, deviations) = net.gradients(LENGTH);
    let losses = (0..steps)
        .map(|step| net.learn(step, LENGTH, 0.01))
        .collect();
    Along {
        form,
        blanks,
        norms,
        deviations,
        losses,
        right: net.right(LENGTH),
        right_longer: net.right(2 * LENGTH),
    }
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let reals = reals(conditions)?;
    let mut found = Vec::new();
    for form in [Form::None, Form::Naive, Form::PerStep] {
        for blanks in [Blanks(0), Blanks(BLANKS)] {
            conditions.say(format!("{}, {} blanks", form.name(), blanks.0));
            found.push(along_time(conditions, form, blanks));
        }
    }
    let layer_norm = layer_norm_flow(conditions, BLANKS)?;
    let mut outcome = Outcome::new(&EXPERIMENT);
    tabulate(&mut outcome, &reals, &found, &layer_norm);
    decide(&mut outcome, &reals, &found, &layer_norm);
    draw(&mut outcome, &reals, &found, &layer_norm);
    explain(&mut outcome, &found);
    Ok(outcome)
}

/// How many times what it was first a gradient became at most; infinite where it is no number.
fn growth(norms: &[f64]) -> f64 {
    let Some(&first) = norms.first() else {
        return f64::NAN;
    };
    norms.iter().fold(0.0, |most: f64, &norm| {
        if norm.is_finite() {
            most.max(norm / first)
        } else {
            f64::INFINITY
        }
    })
}

fn tabulate(outcome: &mut Outcome, reals: &[Real], found: &[Along], layer_norm: &[f64]) {
    let mut table = Table::new(
        "networks of the library",
        [
            "norm",
            "share right",
            "share right twice as long",
            "training loss nats",
        ],
    );
    for real in reals {
        table.row([
            real.name.into(),
            real.right.into(),
            real.right_longer.into(),
            real.history.last_loss(20).into(),
        ]);
    }
    outcome.table(table);
    let mut table = Table::new(
        "along time",
        [
            "norm along time",
            "blanks first",
            "gradient grows to",
            "share right",
            "share right twice as long",
            "training loss nats",
        ],
    );
    for along in found {
        table.row([
            along.form.name().into(),
            along.blanks.0.into(),
            growth(&along.norms).into(),
            along.right.into(),
            along.right_longer.into(),
            along.last_loss().into(),
        ]);
    }
    outcome.table(table);
    outcome.figure("gradient grows to with layer norm", growth(layer_norm));
}

fn of(found: &[Along], form: Form, blanks: usize) -> Option<&Along> {
    found
        .iter()
        .find(|along| along.form == form && along.blanks.0 == blanks)
}

fn decide(outcome: &mut Outcome, reals: &[Real], found: &[Along], layer_norm: &[f64]) {
    let [_, between, inside] = reals else { return };
    outcome.check(
        between.right >= LEARNT,
        format!(
            "batch norm between layers learns: {:.0} % right in evaluation (at least {:.0} %), {:.0} % on sequences twice as long",
            100.0 * between.right,
            100.0 * LEARNT,
            100.0 * between.right_longer
        ),
    );
    if let Some(naive) = of(found, Form::Naive, BLANKS) {
        let grown = growth(&naive.norms);
        outcome.figure("gradient grows to along time", grown);
        outcome.check(
            grown >= EXPLODED,
            format!(
                "along time it explodes: where all sequences begin alike for {BLANKS} steps the gradient grows to {} times what it was (at least {EXPLODED:e})",
                shown(grown)
            ),
        );
        outcome.check(
            naive.right <= NOT_LEARNT,
            format!(
                "and what the network learns in training it does not know in evaluation, with one running mean for all steps: {:.0} % right (at most {:.0} %)",
                100.0 * naive.right,
                100.0 * NOT_LEARNT
            ),
        );
    }
    outcome.check(
        inside.right >= LEARNT && inside.right_longer >= LEARNT_LONGER,
        format!(
            "layer norm in the cell works: {:.0} % right (at least {:.0} %), {:.0} % on sequences twice as long (at least {:.0} %)",
            100.0 * inside.right,
            100.0 * LEARNT,
            100.0 * inside.right_longer,
            100.0 * LEARNT_LONGER
        ),
    );
    let grown = growth(layer_norm);
    outcome.check(
        grown <= BOUNDED,
        format!(
            "and its gradient on the same sequences grows to {} times what it was (at most {BOUNDED})",
            shown(grown)
        ),
    );
}

fn draw(outcome: &mut Outcome, reals: &[Real], found: &[Along], layer_norm: &[f64]) {
    let mut series = Vec::new();
    for (case, form) in [Form::None, Form::Naive, Form::PerStep]
        .into_iter()
        .enumerate()
    {
        for (blanks, mark) in [(BLANKS, Mark::Dots), (0, Mark::Thin)] {
            if let Some(along) = of(found, form, blanks) {
                let label = format!("{}, {blanks} blanks first", form.name());
                series.push(curve(label, case, mark, over_index(&along.norms)));
            }
        }
    }
    let label = format!("layer norm, {BLANKS} blanks first");
    series.push(curve(label, 3, Mark::Line, over_index(layer_norm)));
    outcome.picture(
        chart(
            "Gradient against distance with norms along time",
            "With blanks at the beginning the gradient through batch norm along time rises by orders of magnitude.",
            (whole("distance k from the last step"), log("norm of the gradient of h_(T-k)")),
            series,
        ),
        "Vanilla networks before training. Where all sequences of a batch are alike there is no variance, and batch norm multiplies the gradient by up to 316 at every step.",
    );
    let mut series: Vec<_> = reals
        .iter()
        .enumerate()
        .map(|(case, real)| {
            let losses = smoothed(&real.history.losses(), 10);
            curve(real.name, case, Mark::Line, over_index(&losses))
        })
        .collect();
    for (case, form) in [(3, Form::Naive), (4, Form::PerStep)] {
        if let Some(along) = of(found, form, BLANKS) {
            let losses = smoothed(&along.losses, 10);
            series.push(curve(form.name(), case, Mark::Thin, over_index(&losses)));
        }
    }
    let naive = of(found, Form::Naive, BLANKS);
    let mut y = linear("training loss, nats (mean of 10 steps)");
    y.from_zero = true;
    outcome.picture(
        chart(
            "Losses with norms",
            "With norms between layers and in the cell the loss falls.",
            (whole("training step"), y),
            series,
        ),
        &format!(
            "The networks of the library with each norm, and vanilla ones with batch norm along time on sequences that begin alike. The naive form's training loss goes from {} to {}, and \
             in evaluation it has {:.0} % right.",
            naive.and_then(|along| along.losses.first()).map_or("none".into(), |&loss| shown(loss)),
            naive.map_or("none".into(), |along| shown(along.last_loss())),
            naive.map_or(f64::NAN, |along| 100.0 * along.right)
        ),
    );
    let series = [Form::None, Form::Naive, Form::PerStep]
        .into_iter()
        .enumerate();
    let series = series.filter_map(|(case, form)| {
        let along = of(found, form, 0)?;
        let points = along.deviations.iter().enumerate();
        let points = points.map(|(t, &value)| ((t + 1) as f64, value));
        Some(curve(form.name(), case, Mark::Dots, points))
    });
    let mut y = linear("deviation of the sums over the batch");
    y.from_zero = true;
    outcome.picture(
        chart(
            "How much the sums of a step vary over the batch",
            "The deviation differs from step to step, most at the first.",
            (whole("step"), y),
            series.collect(),
        ),
        "One running mean of the variance for all steps, as the naive form keeps for evaluation, is right at none of the first steps.",
    );
}

fn explain(outcome: &mut Outcome, found: &[Along]) {
    let ordinary = of(found, Form::Naive, 0);
    let (grown, right, longer) = ordinary.map_or((f64::NAN, f64::NAN, f64::NAN), |along| {
        (growth(&along.norms), along.right, along.right_longer)
    });
    let small = of(found, Form::PerStep, BLANKS);
    let (small_grown, small_right) = small.map_or((f64::NAN, f64::NAN), |along| {
        (growth(&along.norms), along.right)
    });
    outcome.seen = format!(
        "Between layers batch norm rescales once on the way up and is kept apart from the recurrence. Along time it rescales at every step: wherever the batch has little variance, the gradient \
         is multiplied by its inverse, step after step. Layer norm takes its statistics from the units of one row, so that it needs no batch and is the same in training and evaluation, at any length. \
         On sequences without such a beginning the naive form's gradient grew to {} and it had {:.0} % right, {:.0} % at twice the length.",
        shown(grown),
        100.0 * right,
        100.0 * longer
    );
    outcome.beyond = format!(
        "That it explodes is no law: on sequences that differ from the first step on its gradients stay in bounds. It can be done along time, with statistics of each step, a gain that begins at 0.1 and noise in the first \
         state (Cooijmans et al., 2016): the gradient then grew to {} at most. But a small gain lets it vanish instead, and this vanilla network had {:.0} % right; theirs is an LSTM, whose cell state passes beside the norm. And it \
         knows only as many steps as it was trained on.",
        shown(small_grown),
        100.0 * small_right
    );
}
