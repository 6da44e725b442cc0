//! ReLU in the place of tanh: states that grow, runs that break, and when it works after all.

use refrain_kernels::RnnCell;

use super::chart::{chart, curve, linear, log, thinned, whole};
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
               identity matrix to begin with and clipping, beside tanh from the same and from an orthogonal matrix",
    cause: "ReLU; in its place tanh",
    work,
};

/// What recurrent matrices, Xavier's, are multiplied by. ReLU halves the mean square of what is symmetric: above √2 a state grows.
const GAINS: [f64; 3] = [1.0, 1.5, 2.0];
/// Matrices of each gain; the middle one counts.
const MATRICES: u64 = 7;
/// The largest gain's state grows without end if it becomes so many times what it was at every step: a thousand times in 73 steps.
const GREW: f64 = 1.1;
/// A state is bounded if it grows by no more than that.
const BOUNDED: f64 = 1.01;
/// Plain descent at a rate at which tanh still learns.
const LEARNING_RATE: f64 = 1.0;
/// The shares of runs that diverge: of ReLU at least, of tanh at most.
const OFTEN: f64 = 0.6;
const SELDOM: f64 = 0.25;
/// A run diverged if its loss is no number or stands above that of its first step.
const DIVERGED: f64 = 1.0;
/// Runs of each activation, beginning and distance.
const RUNS: u64 = 3;
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

/// The norm of the hidden state at each step, and by how much it grows a step after the tenth.
struct Growth {
    norms: Vec<f64>,
    factor: f64,
}

/// The steps that a state is given to come to what the inputs give.
const EARLY: usize = 10;

impl Growth {
    fn early(&self) -> f64 {
        self.norms[EARLY - 1]
    }

    fn last(&self) -> f64 {
        self.norms.last().copied().unwrap_or(f64::NAN)
    }
}

fn states(
    conditions: &Conditions<'_>,
    nonlinearity: Nonlinearity,
    gain: f64,
    matrix: u64,
) -> Result<Growth> {
    let (hidden, steps, batch) = conditions.choose((48, 100, 4), (128, 200, 8));
    let mut rng = keyed_rng(conditions.seed, Purpose::Weights, matrix);
    let mut layer = Recurrent::zeros(cell(nonlinearity), "", 0, hidden, hidden);
    layer.initialise(Init::Xavier, &mut rng);
    for weight in &mut layer.weight_hh.value {
        *weight *= gain;
    }
    let x = inputs((steps, batch, hidden), &mut rng);
    let passes = forward(conditions.compute, &layer, x.view())?;
    let norms = passes.iter().map(|(_, state)| mean_norm(&state.h));
    let mut growth = Growth {
        norms: norms.collect(),
        factor: f64::NAN,
    };
    let grown = growth.last() / growth.early();
    growth.factor = libm::pow(grown, 1.0 / (steps - EARLY) as f64);
    Ok(growth)
}

/// The same of several matrices, by rising factor.
fn of_matrices(
    conditions: &Conditions<'_>,
    nonlinearity: Nonlinearity,
    gain: f64,
) -> Result<Vec<Growth>> {
    let all = (0..MATRICES).map(|matrix| states(conditions, nonlinearity, gain, matrix));
    let mut all = all.collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    Ok(all)
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
    let growth = growth(conditions, &mut outcome)?;
    let diverged = divergence(conditions, &mut outcome)?;
    let reached = other_side(conditions, &mut outcome)?;
    explain(&mut outcome, &growth, diverged, &reached);
    Ok(outcome)
}

/// How many parts of a hundred.
fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn explain(outcome: &mut Outcome, growth: &Factors, (relu, tanh): (f64, f64), reached: &Reached) {
    outcome.seen = format!(
        "A network with ReLU and one with tanh, the same weights and inputs, {MATRICES} recurrent matrices of each size. tanh's states stay below the square root of their number. ReLU's become {} times \
         as large at each step with matrices of the usual size and {} times with matrices {} times that (the middle ones). Of trainings without clipping, {} with ReLU ended above the loss they began with, and {} with tanh.",
        shown(growth.usual),
        shown(growth.relu),
        GAINS[GAINS.len() - 1],
        percent(relu),
        percent(tanh)
    );
    let [relu, tanh, orthogonal] = [
        reached.of("ReLU", "identity"),
        reached.of("tanh", "identity"),
        reached.of("tanh", "orthogonal"),
    ];
    let compared = if relu > tanh.max(orthogonal) {
        "that is further than tanh reaches from either beginning"
    } else if relu > orthogonal {
        "tanh from the identity reaches as far: it is the beginning that helps, not ReLU"
    } else {
        "tanh reaches as far"
    };
    outcome.beyond = format!(
        "ReLU does not diverge by itself: with the usual weights its states neither grow nor shrink (a factor of {} a step). It needs a good beginning and clipping (Le, Jaitly and Hinton, 2015): from the identity \
         matrix it bridges {relu} of {} distances here, tanh {tanh} from the identity and {orthogonal} from an orthogonal matrix; {compared}. And tanh, which bounds the state, is what makes gradients vanish.",
        shown(growth.usual),
        reached.distances
    );
}

/// What the middle matrix multiplies the state by at each step.
struct Factors {
    /// ReLU with the smallest gain, Xavier's own matrices.
    usual: f64,
    /// With the largest gain.
    relu: f64,
    tanh: f64,
}

fn growth(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<Factors> {
    let mut table = Table::new(
        "size of the state",
        [
            "activation",
            "gain",
            "after 10 steps",
            "at the end",
            "factor a step",
            "lowest factor",
            "highest factor",
        ],
    );
    let mut series = Vec::new();
    let mut factors = Factors {
        usual: f64::NAN,
        relu: f64::NAN,
        tanh: f64::NAN,
    };
    for (case, gain) in GAINS.into_iter().enumerate() {
        for (name, nonlinearity) in [("ReLU", bent(conditions)), ("tanh", Nonlinearity::Tanh)] {
            let all = of_matrices(conditions, nonlinearity, gain)?;
            let middle = &all[all.len() / 2];
            table.row([
                name.into(),
                gain.into(),
                middle.early().into(),
                middle.last().into(),
                middle.factor.into(),
                all[0].factor.into(),
                all[all.len() - 1].factor.into(),
            ]);
            let is_relu = name == "ReLU";
            if is_relu && case == 0 {
                factors.usual = middle.factor;
            }
            if case + 1 == GAINS.len() {
                let of = if is_relu {
                    &mut factors.relu
                } else {
                    &mut factors.tanh
                };
                *of = middle.factor;
            }
            let points = middle.norms.iter().enumerate();
            let points = points.map(|(t, &norm)| ((t + 1) as f64, norm));
            let points: Vec<_> = points.collect();
            // tanh's lines lie in one band with each other and with that of ReLU's smallest gain.
            let (mark, points) = match (is_relu, case) {
                (true, _) => (Mark::Line, points),
                (false, 0) => (Mark::Points, thinned(&points, 5)),
                (false, 1) => (Mark::Rings, thinned(&points, 10)),
                (false, _) => (Mark::Thin, points),
            };
            series.push(curve(format!("{name}, gain {gain}"), case, mark, points));
        }
    }
    outcome.table(table);
    outcome.figure("factor a step ReLU", factors.relu);
    outcome.figure("factor a step tanh", factors.tanh);
    outcome.check(
        factors.relu >= GREW && factors.tanh <= BOUNDED,
        format!(
            "with recurrent weights twice Xavier's, ReLU's state becomes {} times as large at every step (the middle of {MATRICES} matrices; at least {GREW}), tanh's {} times (at most \
             {BOUNDED})",
            shown(factors.relu),
            shown(factors.tanh)
        ),
    );
    outcome.picture(
        chart(
            "Size of the hidden state against steps",
            "ReLU's state rises on a straight line where the gain is large, tanh's is bounded.",
            (whole("step"), log("norm of h_t")),
            series,
        ),
        "The same weights and inputs with both activations; the recurrent matrix is Xavier's times the gain, of several the one whose state grows by the middle factor. ReLU's lines are \
         straight on a logarithmic axis where they rise; tanh's are bounded.",
    );
    Ok(factors)
}

/// The shares of runs that diverge, with ReLU and with tanh.
fn divergence(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<(f64, f64)> {
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
            "without clipping {} of {seeds} runs with ReLU diverge (at least {}), {} with tanh (at most {})",
            percent(relu),
            percent(OFTEN),
            percent(tanh),
            percent(SELDOM)
        ),
    );
    Ok((relu, tanh))
}

/// What an activation bridges from a beginning.
struct Way {
    activation: &'static str,
    begins: &'static str,
    /// For each distance the share right, of the middle run.
    right: Vec<(f64, f64)>,
}

/// All of them.
struct Reached {
    ways: Vec<Way>,
    distances: usize,
}

impl Reached {
    /// How many distances were bridged.
    fn of(&self, activation: &str, begins: &str) -> usize {
        let ways = self.ways.iter();
        let mut ways = ways.filter(|way| way.activation == activation && way.begins == begins);
        ways.next().map_or(0, |way| {
            way.right.iter().filter(|at| at.1 >= BRIDGED).count()
        })
    }
}

fn other_side(conditions: &Conditions<'_>, outcome: &mut Outcome) -> Result<Reached> {
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
    let ways = [
        ("ReLU", bent(conditions), "identity", Init::Identity),
        ("tanh", Nonlinearity::Tanh, "identity", Init::Identity),
        ("tanh", Nonlinearity::Tanh, "orthogonal", Init::Orthogonal),
    ];
    let mut reached = Reached {
        ways: Vec::new(),
        distances: lengths.len(),
    };
    let mut broken = 0;
    for (activation, nonlinearity, begins, init) in ways {
        let mut right = Vec::new();
        for &length in lengths {
            conditions.say(format!(
                "copying over {length} steps, {activation}, {begins}"
            ));
            let (mut shares, mut broke) = (Vec::new(), 0u64);
            for run in 0..RUNS {
                let seed = conditions.seed + run;
                let (is_broken, share) = long_task(conditions, nonlinearity, init, length, seed)?;
                broke += u64::from(is_broken);
                shares.push(share);
            }
            shares.sort_by(f64::total_cmp);
            let share = shares[shares.len() / 2];
            table.row([
                activation.into(),
                begins.into(),
                length.into(),
                share.into(),
                broke.into(),
            ]);
            right.push((length as f64, share));
            if activation == "ReLU" {
                broken += broke;
            }
        }
        reached.ways.push(Way {
            activation,
            begins,
            right,
        });
    }
    outcome.table(table);
    let [relu, tanh, orthogonal] = [
        reached.of("ReLU", "identity"),
        reached.of("tanh", "identity"),
        reached.of("tanh", "orthogonal"),
    ];
    outcome.check(
        broken == 0 && relu > 0 && relu >= tanh.max(orthogonal),
        format!(
            "the other side: from the identity, with clipping, {broken} of {} runs with ReLU diverge (at most 0), and it bridges {relu} of {} distances (at least {} right in the middle of {RUNS} \
             runs; at least as many as tanh from the identity, {tanh}, and from an orthogonal matrix, {orthogonal})",
            RUNS * lengths.len() as u64,
            lengths.len(),
            percent(BRIDGED)
        ),
    );
    let mut y = linear("share right");
    y.from_zero = true;
    let marks = [Mark::Dots, Mark::Rings, Mark::Dots];
    let series = reached.ways.iter().zip(marks).enumerate();
    let series = series.map(|(case, (way, mark))| {
        let beginning = match way.begins {
            "identity" => "the identity",
            _ => "an orthogonal matrix",
        };
        let label = format!("{}, from {beginning}", way.activation);
        curve(label, case, mark, way.right.iter().copied())
    });
    outcome.picture(
        chart(
            "Telling the first of so many symbols, with clipping",
            "ReLU from the identity reaches at least as far as tanh.",
            (whole("distance, steps"), y),
            series.collect(),
        ),
        "Vanilla networks with clipping, the middle of several runs: ReLU whose recurrent matrix begins as the identity, and tanh from the identity and from an orthogonal one. Guessing gives 0.25.",
    );
    Ok(reached)
}
