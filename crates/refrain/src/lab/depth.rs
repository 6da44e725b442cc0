//! Layers above each other: what the lower one shows is what the upper one reads.

use ndarray::Array3;
use refrain_kernels::Scalar as _;

use super::chart::{chart, curve, linear, smoothed, whole};
use super::figures::shown;
use super::flow::inputs;
use super::text::{Cut, latin, small, task};
use super::training::{History, adam, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::models::ModelConfig;
use crate::nn::{CellKind, Direction, Parameters as _, Stack};
use crate::run::plot::Mark;
use crate::train::LanguageModelTask;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "depth",
    claim: "In a network of several layers each layer's hidden states are the next layer's inputs.",
    measures: "the hidden states of each layer of trained networks, read out and given to the next layer alone, beside what that layer gave in the network; \
               loss against depth at equal parameters",
    cause: "a layer reads the states of the one below at the same step; in their place those of the step before",
    work,
};

/// Parameters may differ by so much of them.
const EQUAL: f64 = 0.03;
/// Steps that are read out.
const STEPS: usize = 12;

/// The hidden size at which a network of this depth has about so many parameters.
fn hidden_for(cell: CellKind, layers: usize, vocabulary: usize, parameters: f64) -> usize {
    let off = |hidden: &usize| {
        let estimate = config(cell, layers, *hidden).parameter_estimate(vocabulary);
        (estimate - parameters).abs() as u64
    };
    (4..1024).min_by_key(off).unwrap_or(4)
}

fn config(cell: CellKind, layers: usize, hidden: usize) -> ModelConfig {
    ModelConfig {
        num_layers: layers,
        ..small(cell, hidden)
    }
}

/// How many layers of a stack, read out and run by themselves, gave the same to the bit; and the layers above the first.
fn handed_on(conditions: &Conditions<'_>, task: &LanguageModelTask) -> Result<(usize, usize)> {
    let stack = &task.model().stack;
    let mut rng = crate::train::keyed_rng(conditions.seed, crate::train::Purpose::Sample, 7);
    let x = inputs((STEPS, 2, stack.input_size()), &mut rng).mapv(f32::from_f64);
    let compute = conditions.compute;
    let (_, pass) = stack.forward_array(compute, x.view(), &mut stack.zero_state(2))?;
    let mut same = 0;
    for at in 1..stack.num_layers() {
        let below = pass.hidden(at - 1, Direction::Forward);
        let read = if conditions.without_cause {
            shifted(&below)
        } else {
            below
        };
        let mut config = task.model().config.stack(stack.hidden_size());
        config.num_layers = 1;
        let mut alone = Stack::<f32>::zeros(&config, "alone");
        alone.layers = vec![stack.layers[at].clone()];
        let (output, _) = alone.forward_array(compute, read.view(), &mut alone.zero_state(2))?;
        same += usize::from(output == pass.hidden(at, Direction::Forward));
    }
    Ok((same, stack.num_layers() - 1))
}

/// What stood a step before; zeros at first.
fn shifted(states: &Array3<f32>) -> Array3<f32> {
    Array3::from_shape_fn(states.dim(), |(t, b, k)| {
        if t == 0 { 0.0 } else { states[(t - 1, b, k)] }
    })
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let data = latin()?;
    let mut outcome = Outcome::new(&EXPERIMENT);
    let mut table = Table::new(
        "by depth",
        [
            "layers",
            "hidden size",
            "parameters",
            "training loss nats",
            "validation loss nats",
        ],
    );
    let depths: &[usize] = conditions.choose(&[1, 2, 3], &[1, 2, 3, 4]);
    let first = conditions.choose(64, 160);
    let steps = conditions.choose(400, 2500);
    let parameters = config(CellKind::Lstm, 1, first).parameter_estimate(data.vocabulary.len());
    let (mut same, mut all, mut unequal) = (0, 0, 0.0f64);
    let mut histories: Vec<(usize, History)> = Vec::new();
    for &layers in depths {
        conditions.say(format!("{layers} layers"));
        let vocabulary = data.vocabulary.len();
        let hidden = hidden_for(CellKind::Lstm, layers, vocabulary, parameters);
        let cut = Cut {
            batch: 16,
            bptt: Some(50),
        };
        let config = config(CellKind::Lstm, layers, hidden);
        let mut task = task(&config, &data, cut, conditions.seed)?;
        let history = train(conditions, &mut task, &adam(steps, 0.005, conditions.seed))?;
        let (found, of) = handed_on(conditions, &task)?;
        (same, all) = (same + found, all + of);
        let count = task.model().parameter_count();
        unequal = unequal.max((count as f64 / parameters - 1.0).abs());
        table.row([
            layers.into(),
            hidden.into(),
            count.into(),
            history.last_loss(50).into(),
            history.score_loss().into(),
        ]);
        histories.push((layers, history));
    }
    outcome.table(table);
    outcome.figure("layers handed on", same);
    outcome.figure("layers above the first", all);
    outcome.figure("parameters differ by", unequal);
    outcome.check(
        same == all && all > 0,
        format!(
            "{same} of {all} layers above a first one gave the same hidden states, bit for bit, when they were run alone on what the layer below had shown"
        ),
    );
    outcome.check(
        unequal <= EQUAL,
        format!(
            "the networks that are compared have equally many parameters, within {} (at most {EQUAL})",
            shown(unequal)
        ),
    );
    explain(&mut outcome, &histories);
    draw(&mut outcome, &histories);
    Ok(outcome)
}

fn explain(outcome: &mut Outcome, histories: &[(usize, History)]) {
    let best = histories
        .iter()
        .min_by(|a, b| a.1.score_loss().total_cmp(&b.1.score_loss()));
    let losses: Vec<_> = histories
        .iter()
        .map(|(layers, history)| format!("{} with {layers}", shown(history.score_loss())))
        .collect();
    outcome.figure("best depth", best.map_or(0, |best| best.0));
    outcome.seen = format!(
        "The hidden states of a layer were read out of trained networks and given to the next layer by itself: it answers as it did inside. At equal parameters \
         the validation loss in nats a character was {}.",
        losses.join(", ")
    );
    outcome.beyond = "What a layer shows is h alone: an LSTM's c stays inside. In training, dropout or batch norm may stand between h and the next layer's input. And \
        deeper is not better by itself: at equal parameters each layer is narrower, and in a short training the deeper network is often still behind."
        .into();
}

fn draw(outcome: &mut Outcome, histories: &[(usize, History)]) {
    let series = histories
        .iter()
        .enumerate()
        .map(|(case, (layers, history))| {
            let losses = smoothed(&history.losses(), 20);
            let losses = losses.into_iter().enumerate();
            let points = losses.map(|(at, loss)| ((at + 1) as f64, loss));
            let label = format!("{layers} layer{}", if *layers == 1 { "" } else { "s" });
            curve(label, case, Mark::Line, points)
        });
    outcome.picture(
        chart(
            "Training loss by depth at equal parameters",
            "The deeper a network, the later its loss falls.",
            (whole("training step"), linear("loss, nats a character (mean of 20 steps)")),
            series.collect(),
        ),
        "Networks of one to several layers with the same number of parameters, on the same text in the same order.",
    );
}
