//! What backpropagation through a whole sequence costs, beside that through pieces of it.

use std::mem::size_of_val;

use super::chart::{chart, curve, log};
use super::figures::shown;
use super::text::{latin, small};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::models::{LanguageModel, LanguageModelSpace, TokenBatch};
use crate::nn::CellKind;
use crate::optim::{Optimizer, gradient_norm};
use crate::run::plot::Mark;
use crate::train::{Purpose, keyed_rng};

use super::training::adam;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "full-cost",
    claim: "Backpropagation through the whole of a long sequence is slow and takes much memory: the time to an update of the weights and what must be kept until \
            then both grow with its length.",
    measures: "for growing lengths, the memory that a forward pass keeps for the backward pass, and the time to an update of the weights and for the whole \
               sequence; beside backpropagation truncated at 64 steps",
    cause: "the whole sequence is kept; in its place only 64 steps of it at a time",
    work,
};

/// Where the other side is truncated.
const TRUNCATED: usize = 64;
/// Rows.
const BATCH: usize = 2;
/// Memory grows as the length does if it has this share of the length's growth.
const PROPORTIONAL: f64 = 0.9;
/// Memory does not grow if it has at most this many times what it had.
const CONSTANT: f64 = 1.1;
/// An update of the longest sequence takes at least so many times as long as one of a piece. It is 32 times the work in the quick form and 1024 times in
/// the full one, so that a machine which is busy with other things does not change the verdict.
const SLOW: f64 = 8.0;
/// Times are the shortest of so many, the one that least else has disturbed.
const ROUNDS: usize = 3;

/// One way to go through a sequence once, forward, backward and updating.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    kept_bytes: usize,
    seconds: f64,
    updates: usize,
}

impl Cost {
    /// Seconds to an update of the weights.
    fn of_update(&self) -> f64 {
        self.seconds / self.updates as f64
    }
}

fn run(
    conditions: &Conditions<'_>,
    tokens: &[u32],
    vocabulary: usize,
    length: usize,
    chunk: usize,
) -> Cost {
    let config = small(CellKind::Lstm, conditions.choose(64, 128));
    let mut rng = keyed_rng(conditions.seed, Purpose::Weights, 0);
    let mut model = LanguageModel::<f32>::new(&config, vocabulary, &mut rng);
    let settings = adam(1, 0.001, conditions.seed).optimizer;
    let mut optimizer = Optimizer::new(&settings, &model);
    let mut space = LanguageModelSpace::default();
    let mut cost = Cost::default();
    let mut times = Vec::new();
    let compute = conditions.compute;
    let (mut read, mut next) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut state = model.zero_state(BATCH);
        let start = (conditions.clock)();
        cost.updates = 0;
        for from in (0..length).step_by(chunk) {
            read.clear();
            next.clear();
            for t in from..(from + chunk).min(length) {
                for row in 0..BATCH {
                    let at = row * length + t;
                    read.push(tokens[at % (tokens.len() - 1)]);
                    next.push(tokens[at % (tokens.len() - 1) + 1]);
                }
            }
            let batch = TokenBatch {
                inputs: &read,
                targets: &next,
                batch: BATCH,
            };
            compute.run(|| model.loss_and_gradients(compute, &mut space, batch, &mut state, None));
            let update = optimizer.clip(gradient_norm(compute, &model));
            cost.updates += 1;
            let step = cost.updates as u64;
            optimizer.update(compute, &mut model, step, settings.learning_rate, update);
        }
        times.push((conditions.clock)() - start);
    }
    cost.seconds = times.into_iter().fold(f64::INFINITY, f64::min);
    cost.kept_bytes = space.kept_bytes() + size_of_val(&read[..]) + size_of_val(&next[..]);
    cost
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let data = latin()?;
    let lengths: &[usize] = conditions.choose(
        &[64, 128, 256, 512, 1024, 2048],
        &[64, 256, 1024, 4096, 16_384, 65_536],
    );
    let mut table = Table::new(
        "by length",
        [
            "steps",
            "full kept MB",
            "truncated kept MB",
            "full s an update",
            "truncated s an update",
            "full s in all",
            "truncated s in all",
            "updates truncated",
        ],
    );
    let vocabulary = data.vocabulary.len();
    let costs_of = |whole: bool| -> Vec<Cost> {
        let each = lengths.iter().map(|&length| {
            let piece = if whole && !conditions.without_cause {
                length
            } else {
                TRUNCATED
            };
            conditions.say(format!("{length} steps, {piece} at a time"));
            run(conditions, &data.train, vocabulary, length, piece)
        });
        each.collect()
    };
    let peak = || (conditions.peak_memory)().map_or(f64::NAN, |bytes| bytes as f64 / 1e6);
    // The process's peak never falls: first what needs less.
    let truncated = costs_of(false);
    let peak_truncated = peak();
    let full = costs_of(true);
    let peak_full = peak();
    let mut costs = Vec::new();
    for ((&length, full), truncated) in lengths.iter().zip(full).zip(truncated) {
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        table.row([
            length.into(),
            megabytes(full.kept_bytes).into(),
            megabytes(truncated.kept_bytes).into(),
            full.of_update().into(),
            truncated.of_update().into(),
            full.seconds.into(),
            truncated.seconds.into(),
            truncated.updates.into(),
        ]);
        costs.push((length, full, truncated));
    }
    let mut outcome = Outcome::new(&EXPERIMENT);
    outcome.table(table);
    decide(&mut outcome, &costs);
    outcome.figure(
        "peak of the process MB up to the truncated ones",
        peak_truncated,
    );
    outcome.figure("peak of the process MB with the full ones", peak_full);
    draw(&mut outcome, &costs);
    Ok(outcome)
}

fn decide(outcome: &mut Outcome, costs: &[(usize, Cost, Cost)]) {
    let ([(short, full_short, cut_short), ..], [.., (long, full_long, cut_long)]) = (costs, costs)
    else {
        return;
    };
    let longer = *long as f64 / *short as f64;
    let grown = |a: &Cost, b: &Cost| b.kept_bytes as f64 / a.kept_bytes as f64;
    let (full, cut) = (grown(full_short, full_long), grown(cut_short, cut_long));
    outcome.figure("length grown", longer);
    outcome.figure("memory of full grown", full);
    outcome.figure("memory of truncated grown", cut);
    outcome.check(
        full >= PROPORTIONAL * longer,
        format!(
            "from {short} to {long} steps, {longer} times as long, the memory kept for the backward pass becomes {} times as much (at least {})",
            shown(full),
            shown(PROPORTIONAL * longer)
        ),
    );
    outcome.check(
        cut <= CONSTANT,
        format!(
            "truncated at {TRUNCATED} steps it stays: {} times as much (at most {CONSTANT})",
            shown(cut)
        ),
    );
    let (full_update, cut_update) = (full_long.of_update(), cut_long.of_update());
    outcome.check(
        full_update >= SLOW * cut_update,
        format!(
            "an update of the whole {long} steps takes at least {SLOW} times as long as one of {TRUNCATED} steps, by the clock (the table has the times)"
        ),
    );
    let characters = (*long * BATCH) as f64;
    let of_character = |cost: &Cost| 1e6 * cost.seconds / characters;
    outcome.figure("full s an update at the longest", full_update);
    outcome.figure("truncated s an update", cut_update);
    outcome.figure(
        "full microseconds a character at the longest",
        of_character(full_long),
    );
    outcome.figure("truncated microseconds a character", of_character(cut_long));
    outcome.seen = format!(
        "An LSTM goes through {long} steps forward and backward. Everything that the backward pass needs is kept until then: {:.1} MB for the whole, \
         {:.2} MB for {TRUNCATED} steps at a time. An update takes {} s for the whole and {} s truncated, which makes {} of them on the way.",
        full_long.kept_bytes as f64 / 1e6,
        cut_long.kept_bytes as f64 / 1e6,
        shown(full_update),
        shown(cut_update),
        cut_long.updates,
    );
    outcome.beyond = format!(
        "Slow means slow to the next update, not slow for a character: the whole sequence once takes {} s at once and {} s in pieces, {} and {} µs a character. The two are of one size as \
         long as what is kept stays in the processor's cache. And memory is not the last word: a forward pass may be computed again piece by piece from saved states, which gives the gradient \
         of the whole in a fraction of the memory for one more forward pass.",
        shown(full_long.seconds),
        shown(cut_long.seconds),
        shown(of_character(full_long)),
        shown(of_character(cut_long)),
    );
}

fn draw(outcome: &mut Outcome, costs: &[(usize, Cost, Cost)]) {
    let points = |of: &dyn Fn(&(usize, Cost, Cost)) -> f64| -> Vec<(f64, f64)> {
        costs.iter().map(|cost| (cost.0 as f64, of(cost))).collect()
    };
    let cut = format!("truncated at {TRUNCATED}");
    outcome.picture(
        chart(
            "Memory kept for the backward pass against length",
            "Of full backpropagation it rises with the length, truncated it stays.",
            (log("steps of the sequence"), log("MB kept")),
            vec![
                curve("full", 1, Mark::Dots, points(&|cost| cost.1.kept_bytes as f64 / 1e6)),
                curve(&cut, 0, Mark::Dots, points(&|cost| cost.2.kept_bytes as f64 / 1e6)),
            ],
        ),
        "What a forward pass keeps until the backward pass has used it: gates, cell states, hidden states, scores.",
    );
    outcome.picture(
        chart(
            "Time up to an update against length",
            "Of full backpropagation it rises with the length, truncated it stays.",
            (log("steps of the sequence"), log("seconds an update")),
            vec![
                curve("full", 1, Mark::Dots, points(&|cost| cost.1.of_update())),
                curve(&cut, 0, Mark::Dots, points(&|cost| cost.2.of_update())),
            ],
        ),
        "Seconds of forward pass, backward pass and update together, on this machine at this moment.",
    );
}
