//! ReLU in the place of tanh: states that grow, runs that break, and when it works after all.

use refrain_kernels::RnnCell;

use super::chart::{chart, curve, linear, log, whole};
use super::figures::shown;
use super::flow::{forward, inputs, mean_norm};
use super::problems::{Problem, ProblemTask};
use super::text::{Cut, latin, small, task};
use super::training::{adam, sgd, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::nn::{CellKind, Init, Nonlinearity, Recurrent};
use crate::run::plot::Mark;
use crate::train::{LanguageModelData, Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "activations",
    claim: "With ReLU instead of tanh the state is not bounded: over many steps it grows without end, and training diverges more often.",
    measures: "the size of the hidden state against steps; the share of runs that diverge, over seeds, without clipping; and the other side: ReLU with an \
               identity matrix to begin with and clipping",
    cause: "ReLU; in its place tanh",
    work,
};

/// What recurrent matrices, Xavier's, are multiplied by. ReLU halves the mean square of what is symmetric: above √2 a state grows.
const GAINS: [f64; 3] = [1.0, 1.5, 2.0];
/// The largest gain's state grew without end if it became so many times what it was after ten steps.
const GREW: f64 = 1e6;
/// Plain descent at a rate at which tanh still learns.
const LEARNING_RATE: f64 = 1.0;
/// The shares of runs that diverge: of ReLU at least, of tanh at most.
const OFTEN: f64 = 0.6;
const SELDOM: f64 = 0.25;
/// A run diverged if its loss is no number or stands above that of its first step.
const DIVERGED: f64 = 1.0;
/// A distance is bridged if so many are right.
const BRIDGED: f64 = 0.9;

fn bent(conditions: &Conditions<'_>) -> Nonlinearity {
    if conditions.without_cause {
        Nonlinearity::Tanh
    } else {
        Nonlinearity::Relu
    }
}

fn cell(nonlinearity: Nonlinearity) -> RnnCell {
    match nonlinearity {
        Nonlinearity::Tanh => RnnCell::Tanh,
        Nonlinearity::Relu => RnnCell::Relu,
    }
}

/// The norm of the hidden state at each step.
fn states(conditions: &Conditions<'_>, nonlinearity: Nonlinearity, gain: f64) -> Result<Vec<f64>> {
    let (hidden, steps, batch) = conditions.choose((48, 100, 4), (128, 200, 8));
    let mut rng = keyed_rng(conditions.seed, Purpose::Weights, 0);
    let mut layer = Recurrent::zeros(cell(nonlinearity), "", 0, hidden, hidden);
    layer.initialise(Init::Xavier, &mut rng);
    for weight in &mut layer.weight_hh.value {
        *weight *= gain;
    }
    let x = inputs((steps, batch, hidden), &mut rng);
    let passes = forward(conditions.compute, &layer, x.view())?;
    Ok(passes
        .iter()
        .map(|(_, state)| mean_norm(&state.h))
        .collect())
}

/// Whether a run on the text diverges, and its last loss.
fn diverges(
    conditions: &Conditions<'_>,
    data: &LanguageModelData,
    nonlinearity: Nonlinearity,
    seed: u64,
) -> Result<(bool, f64)> {
    let config = ModelConfig {
        nonlinearity,
        init: Init::Xavier,
        ..small(CellKind::Rnn, conditions.choose(48, 128))
    };
    let cut = Cut {
        batch: 16,
        bptt: Some(50),
    };
    let mut task = task(&config, data, cut, seed)?;
    let steps = conditions.choose(60, 500);
    let history = train(
        conditions,
        &mut task,
        &sgd(steps, LEARNING_RATE, None, seed),
    )?;
    let last = history.last_loss(10);
    let is_low = last < DIVERGED * history.first_loss();
    Ok((!is_low, last))
}

/// The share right of the copying task, learnt with clipping.
fn long_task(
    conditions: &Conditions<'_>,
    nonlinearity: Nonlinearity,
    init: Init,
    length: usize,
    seed: u64,
) -> Result<(bool, f64)> {
    let config = ModelConfig {
        cell: CellKind::Rnn,
        nonlinearity,
        hidden_size: 32,
        embedding_size: 8,
        init,
        ..ModelConfig::default()
    };
    let mut task = ProblemTask::new(Problem::Copy, length, &config, 32, seed);
    let steps = conditions.choose(300, 3000);
    let history = train(conditions, &mut task, &adam(steps, 0.003, seed))?;
    let broke = history.last_loss(10) >= DIVERGED * history.first_loss();
    Ok((broke, history.metric("accuracy")))
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::new(&EXPERIMENT);
    conditions.say("states");
    growth(conditions, &mut outcome)?;
    divergence(conditions, &mut outcome)?;
    other_side(conditions, &mut outcome)?;
    outcome.seen = "A network with ReLU and one with tanh, the same weights and inputs: tanh's states stay below the square root of their number, ReLU's grow by a factor at each step once \
        the recurrent matrix is large enough. In training without clipping that is where weights get to."
        .into();
    outcome.beyond = "ReLU does not diverge by itself: with the usual small weights its states shrink, since half of what it reads becomes 0. It needs a good beginning and clipping: from the identity matrix it \
        neither grows nor shrinks and reaches as far as tanh or farther (Le, Jaitly and Hinton, 2015). And tanh, which bounds the state, is what makes gradients vanish."
        .into();
    Ok(outcome)
}

fn growth(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<()> {
    let mut table = Table::new(
        "size of the state",
        [
            "activation",
            "gain",
            "after 10 steps",
            "at the end",
            "factor a step",
        ],
    );
    let mut series = Vec::new();
    let mut largest = (0.0, 0.0);
    for (case, gain) in GAINS.into_iter().enumerate() {
        for (name, nonlinearity, mark) in [
            ("ReLU", bent(conditions), Mark::Line),
            ("tanh", Nonlinearity::Tanh, Mark::Dots),
        ] {
            let norms = states(conditions, nonlinearity, gain)?;
            let (early, last) = (norms[9], norms[norms.len() - 1]);
            let factor = libm::pow(last / early, 1.0 / (norms.len() - 10) as f64);
            table.row([
                name.into(),
                gain.into(),
                early.into(),
                last.into(),
                factor.into(),
            ]);
            if case + 1 == GAINS.len() {
                let grown = last / early;
                largest = if name == "ReLU" {
                    (grown, largest.1)
                } else {
                    (largest.0, grown)
                };
            }
            let points = norms
                .iter()
                .enumerate()
                .map(|(t, &norm)| ((t + 1) as f64, norm));
            series.push(curve(format!("{name}, gain {gain}"), case, mark, points));
        }
    }
    outcome.table(table);
    let (relu, tanh) = largest;
    outcome.figure("growth of the state ReLU", relu);
    outcome.figure("growth of the state tanh", tanh);
    outcome.check(
        relu >= GREW && tanh <= 2.0,
        format!(
            "with recurrent weights twice Xavier's, ReLU's state becomes {} times what it was after ten steps (at least {GREW:e}), tanh's {} times (at most 2)",
            shown(relu),
            shown(tanh)
        ),
    );
    outcome.picture(
        chart(
            "Size of the hidden state against steps",
            "ReLU's state rises on a straight line where the gain is large, tanh's is bounded.",
            (whole("step"), log("norm of h_t")),
            series,
        ),
        "The same weights and inputs with both activations; the recurrent matrix is Xavier's times the gain. ReLU's lines are straight on a logarithmic axis, up or down to what \
         the inputs give; tanh's are bounded.",
    );
    Ok(())
}

fn divergence(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<()> {
    let data = latin()?;
    let seeds = conditions.choose(4, 10);
    let mut table = Table::new(
        "runs without clipping",
        ["activation", "seed", "diverged", "last loss nats"],
    );
    let mut share = |name: &str, nonlinearity| -> Result<f64> {
        let mut diverged = 0;
        for seed in 0..seeds {
            conditions.say(format!("training with {name}, seed {seed}"));
            let (broke, loss) = diverges(conditions, &data, nonlinearity, conditions.seed + seed)?;
            diverged += u64::from(broke);
            table.row([name.into(), seed.into(), broke.into(), loss.into()]);
        }
        Ok(diverged as f64 / seeds as f64)
    };
    let relu = share("ReLU", bent(conditions))?;
    let tanh = share("tanh", Nonlinearity::Tanh)?;
    outcome.table(table);
    outcome.figure("share diverged ReLU", relu);
    outcome.figure("share diverged tanh", tanh);
    outcome.check(
        relu >= OFTEN && tanh <= SELDOM,
        format!(
            "without clipping {:.0} % of {seeds} runs with ReLU diverge (at least {:.0} %), {:.0} % with tanh (at most {:.0} %)",
            100.0 * relu,
            100.0 * OFTEN,
            100.0 * tanh,
            100.0 * SELDOM
        ),
    );
    Ok(())
}

fn other_side(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<()> {
    let lengths: &[usize] = conditions.choose(&[10, 20, 40], &[10, 30, 60, 100]);
    let mut table = Table::new(
        "with clipping",
        [
            "activation",
            "begins with",
            "distance steps",
            "share right",
            "diverged",
        ],
    );
    let (mut of_relu, mut of_tanh) = (Vec::new(), Vec::new());
    let mut broken = 0;
    for &length in lengths {
        conditions.say(format!("copying over {length} steps"));
        for (name, nonlinearity, begin, init) in [
            ("ReLU", bent(conditions), "identity", Init::Identity),
            ("tanh", Nonlinearity::Tanh, "orthogonal", Init::Orthogonal),
        ] {
            let (broke, right) =
                long_task(conditions, nonlinearity, init, length, conditions.seed)?;
            table.row([
                name.into(),
                begin.into(),
                length.into(),
                right.into(),
                broke.into(),
            ]);
            let points = if name == "ReLU" {
                &mut of_relu
            } else {
                &mut of_tanh
            };
            points.push((length as f64, right));
            broken += u64::from(broke && name == "ReLU");
        }
    }
    outcome.table(table);
    let bridged = |points: &[(f64, f64)]| points.iter().filter(|point| point.1 >= BRIDGED).count();
    let (relu, tanh) = (bridged(&of_relu), bridged(&of_tanh));
    outcome.check(
        broken == 0 && relu > 0 && relu >= tanh,
        format!(
            "the other side: from the identity, with clipping, no run with ReLU diverges, and it bridges {relu} of {} distances (at least {:.0} % right), tanh {tanh}",
            lengths.len(),
            100.0 * BRIDGED
        ),
    );
    let mut y = linear("share right");
    y.from_zero = true;
    outcome.picture(
        chart(
            "Telling the first of so many symbols, with clipping",
            "ReLU from the identity reaches at least as far as tanh.",
            (whole("distance, steps"), y),
            vec![
                curve("ReLU, from the identity", 0, Mark::Dots, of_relu),
                curve("tanh, from an orthogonal matrix", 1, Mark::Dots, of_tanh),
            ],
        ),
        "Vanilla networks with clipping: ReLU whose recurrent matrix begins as the identity, and tanh from an orthogonal one. Guessing gives 0.25.",
    );
    Ok(())
}
