//! Whether truncation costs quality: on a text, and where what matters lies further back.

use std::mem::size_of_val;

use rand::RngExt;

use super::chart::{chart, curve, linear, log};
use super::figures::shown;
use super::text::{Cut, latin, small, task};
use super::training::{adam, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::data::Vocabulary;
use crate::error::Result;
use crate::models::{LanguageModelSpace, TokenBatch};
use crate::nn::{CellKind, Init};
use crate::run::plot::Mark;
use crate::train::{LanguageModelData, LanguageModelTask, Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "truncation",
    claim: "On text, truncated backpropagation learns as well as the full one from the same characters, for a fraction of the memory; what lies \
            further back than the truncation it is not taught.",
    measures: "loss, time and memory of the same model on one text, full and truncated at 8 to 256 steps; and on a stream where a symbol must be told \
               after a known distance",
    cause: "the distance is longer than the truncation; in its place the symbol comes right before",
    work,
};

/// Truncated may be so much worse than the best of the longer ones, nats a character.
const AS_GOOD: f64 = 0.05;
/// The truncation that is held against the full one.
const USUAL: usize = 32;
/// Of what the full one keeps, at most this share.
const KEPT: f64 = 0.1;
/// Truncations from 8 to 256 steps.
const CUTS: [usize; 6] = [8, 16, 32, 64, 128, 256];
/// Rows side by side.
const BATCH: usize = 8;
/// Updates of each run of the control, in which all make the same number: about what 256 steps make in the quick form.
const EQUAL: u64 = 80;
/// Truncations of the control; so many updates of the full one would take too long.
const CONTROL: [usize; 4] = [8, USUAL, 256, LONGEST];
const LONGEST: usize = 1024;
/// Nats at an answer: told, half of what guessing one of four costs (ln 4 = 1.386) or less.
const TOLD: f64 = 0.69;
/// So much more an answer costs that was not taught. It need not cost what guessing does: of some runs the cell keeps a trace.
const UNTAUGHT: f64 = 0.5;
/// From here on an answer costs about what guessing does, in words: nearer to that than to half of it.
const GUESSED: f64 = 1.04;
const SYMBOLS: u32 = 4;
/// Steps between a symbol and where it must be told: few enough that a gradient of an LSTM that begins as usual arrives. The
/// noise between them covers the trace of the symbol in a cell that was not taught to keep it; of one run in ten it is found
/// nevertheless.
const DISTANCE: usize = 16;
/// Trainings of each truncation on the stream; the middle one counts.
const RUNS: u64 = 3;

/// A stream: a symbol, noise, a question mark, the symbol again; and so on.
struct Far {
    data: LanguageModelData,
    /// Which targets of the test stream are answers.
    is_answer: Vec<bool>,
}

fn far(conditions: &Conditions<'_>, distance: usize, tokens: usize) -> Result<Far> {
    // Symbols a to d, noise w to z that says nothing, and the question mark.
    let vocabulary = Vocabulary::from_chars("abcdwxyz?".chars())?;
    let id = |symbol: char| vocabulary.id(symbol).unwrap_or(0);
    let ids = |symbols: &str| -> Vec<u32> { symbols.chars().map(id).collect() };
    let (symbols, noise) = (ids("abcd"), ids("wxyz"));
    let mut rng = keyed_rng(conditions.seed, Purpose::Sample, 0);
    let mut stream = |count: usize| {
        let (mut ids, mut answers) = (Vec::new(), Vec::new());
        while ids.len() < count {
            let symbol = symbols[rng.random_range(0..SYMBOLS) as usize];
            ids.push(symbol);
            // The answer stands `distance` steps after the symbol.
            for _ in 2..distance {
                ids.push(noise[rng.random_range(0..noise.len())]);
            }
            ids.push(id('?'));
            answers.push(ids.len());
            ids.push(symbol);
        }
        (ids, answers)
    };
    let (train, _) = stream(tokens);
    let (test, answers) = stream(4000);
    let mut is_answer = vec![false; test.len() - 1];
    // The first ones are read from state zero, as any.
    for at in answers {
        is_answer[at - 1] = true;
    }
    Ok(Far {
        data: LanguageModelData {
            vocabulary,
            train,
            validation: Vec::new(),
            test,
        },
        is_answer,
    })
}

/// The mean loss at the answers, nats.
fn answer_loss(conditions: &Conditions<'_>, task: &mut LanguageModelTask, far: &Far) -> f64 {
    let compute = conditions.compute;
    let model = task.model_mut();
    let mut space = LanguageModelSpace::default();
    model.prepare(&mut space);
    let mut state = model.zero_state(1);
    let test = &far.data.test;
    let batch = TokenBatch {
        inputs: &test[..test.len() - 1],
        targets: &test[1..],
        batch: 1,
    };
    model.loss(compute, &mut space, batch, &mut state);
    let answers = space.losses().iter().zip(&far.is_answer);
    let answers: Vec<f64> = answers
        .filter(|(_, is)| **is)
        .map(|(&loss, _)| loss)
        .collect();
    answers.iter().sum::<f64>() / answers.len().max(1) as f64
}

/// One truncation on the text.
struct OnText {
    bptt: Option<usize>,
    /// Steps that the gradient goes back: of the full one, all of a row.
    steps: usize,
    updates: u64,
    characters: u64,
    loss: f64,
    kept_bytes: usize,
    seconds: f64,
}

impl OnText {
    fn said(&self) -> super::Figure {
        self.bptt.map_or("full".into(), super::Figure::from)
    }
}

/// All runs on the text: with the same number of characters, and with the same number of updates.
struct Texts {
    characters: Vec<OnText>,
    updates: Vec<OnText>,
}

impl Texts {
    fn of(runs: &[OnText], bptt: Option<usize>) -> Option<&OnText> {
        runs.iter().find(|run| run.bptt == bptt)
    }
}

/// One run on the text, of so many passes over it or of so many updates.
fn learn(
    conditions: &Conditions<'_>,
    data: &LanguageModelData,
    bptt: Option<usize>,
    budget: Budget,
) -> Result<OnText> {
    let config = small(CellKind::Lstm, conditions.choose(48, 128));
    let cut = Cut { batch: BATCH, bptt };
    let mut task = task(&config, data, cut, conditions.seed)?;
    let updates = match budget {
        Budget::Passes(passes) => passes * crate::train::Task::steps_per_epoch(&task),
        Budget::Updates(updates) => updates,
    };
    let start = (conditions.clock)();
    let history = train(
        conditions,
        &mut task,
        &adam(updates, 0.005, conditions.seed),
    )?;
    let seconds = (conditions.clock)() - start;
    let steps = bptt.unwrap_or((data.train.len() - 1) / BATCH);
    Ok(OnText {
        bptt,
        steps,
        updates: history.steps.len() as u64,
        characters: history.steps.len() as u64 * (steps * BATCH) as u64,
        loss: history.score_loss(),
        kept_bytes: kept_bytes(conditions, &mut task, steps),
        seconds,
    })
}

/// For how long a run goes on.
#[derive(Clone, Copy)]
enum Budget {
    Passes(u64),
    Updates(u64),
}

/// What a forward pass over so many steps keeps for the backward pass.
fn kept_bytes(conditions: &Conditions<'_>, task: &mut LanguageModelTask, steps: usize) -> usize {
    let tokens = task.data().train[..=steps * BATCH].to_vec();
    let (inputs, targets) = (&tokens[..steps * BATCH], &tokens[1..]);
    let model = task.model_mut();
    let mut space = LanguageModelSpace::default();
    let mut state = model.zero_state(BATCH);
    let batch = TokenBatch {
        inputs,
        targets,
        batch: BATCH,
    };
    let compute = conditions.compute;
    compute.run(|| model.loss_and_gradients(compute, &mut space, batch, &mut state, None));
    space.kept_bytes() + size_of_val(inputs) + size_of_val(targets)
}

fn on_text(conditions: &Conditions<'_>) -> Result<Texts> {
    let data = latin()?;
    let passes = Budget::Passes(conditions.choose(4, 12));
    let run = |bptt: Option<usize>, budget| {
        let said = bptt.map_or("full".into(), |steps| format!("truncated at {steps}"));
        conditions.say(format!("Latin, {said}"));
        learn(conditions, &data, bptt, budget)
    };
    let cuts = CUTS.into_iter().map(Some).chain([None]);
    let characters = cuts.map(|bptt| run(bptt, passes));
    let characters = characters.collect::<Result<_>>()?;
    conditions.say(format!("{EQUAL} updates each"));
    let updates = CONTROL.into_iter();
    let updates = updates.map(|bptt| run(Some(bptt), Budget::Updates(EQUAL)));
    Ok(Texts {
        characters,
        updates: updates.collect::<Result<_>>()?,
    })
}

/// What one truncation made of the stream.
#[derive(Clone, Copy)]
struct Told {
    bptt: usize,
    updates: u64,
    /// At the answers, nats: of the lowest, the middle and the highest run.
    losses: [f64; RUNS as usize],
}

impl Told {
    fn loss(&self) -> f64 {
        self.losses[self.losses.len() / 2]
    }
}

/// The best of the runs whose gradient stops before the symbol, and of those whose gradient reaches it.
#[derive(Clone, Copy)]
struct Best {
    distance: usize,
    short: Told,
    long: Told,
}

fn on_stream(conditions: &Conditions<'_>, distance: usize) -> Result<Vec<Told>> {
    let far = far(conditions, distance, conditions.choose(80_000, 400_000))?;
    let mut config = small(CellKind::Lstm, 32);
    config.init = Init::Orthogonal;
    let mut told = Vec::new();
    for bptt in CUTS {
        let cut = Cut {
            batch: BATCH,
            bptt: Some(bptt),
        };
        let mut run = Told {
            bptt,
            updates: 0,
            losses: [f64::NAN; RUNS as usize],
        };
        for (number, loss) in (0..).zip(&mut run.losses) {
            conditions.say(format!(
                "a symbol {distance} steps before, truncated at {bptt}, run {}",
                number + 1
            ));
            let seed = conditions.seed + number;
            let mut task = task(&config, &far.data, cut, seed)?;
            // The same characters for all.
            let passes = conditions.choose(8, 10);
            run.updates = passes * crate::train::Task::steps_per_epoch(&task);
            train(conditions, &mut task, &adam(run.updates, 0.01, seed))?;
            *loss = answer_loss(conditions, &mut task, &far);
        }
        run.losses.sort_by(f64::total_cmp);
        told.push(run);
    }
    Ok(told)
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let texts = on_text(conditions)?;
    let distance = if conditions.without_cause {
        2
    } else {
        DISTANCE
    };
    let told = on_stream(conditions, distance)?;
    let mut outcome = Outcome::new(&EXPERIMENT);
    decide_text(&mut outcome, &texts);
    let best = decide_far(&mut outcome, &told, distance);
    explain(&mut outcome, &texts, best);
    Ok(outcome)
}

fn decide_text(outcome: &mut Outcome, texts: &Texts) {
    let mut table = Table::new(
        "on text",
        [
            "truncated at",
            "updates",
            "validation loss nats",
            "kept MB",
            "seconds",
        ],
    );
    for run in &texts.characters {
        table.row([
            run.said(),
            run.updates.into(),
            run.loss.into(),
            (run.kept_bytes as f64 / 1e6).into(),
            run.seconds.into(),
        ]);
    }
    outcome.table(table);
    let mut table = Table::new(
        "the same number of updates",
        [
            "truncated at",
            "updates",
            "characters",
            "validation loss nats",
        ],
    );
    for run in &texts.updates {
        table.row([
            run.said(),
            run.updates.into(),
            run.characters.into(),
            run.loss.into(),
        ]);
    }
    outcome.table(table);
    let usual = Texts::of(&texts.characters, Some(USUAL));
    let longer = texts
        .characters
        .iter()
        .filter(|run| run.bptt.is_none_or(|steps| steps > USUAL));
    let best = longer.fold(f64::INFINITY, |best, run| best.min(run.loss));
    let full = Texts::of(&texts.characters, None);
    if let (Some(usual), Some(full)) = (usual, full) {
        outcome.check(
            usual.loss <= best + AS_GOOD && usual.loss <= full.loss + AS_GOOD,
            format!(
                "on Latin, truncated at {USUAL}, {} nats a character after the same characters; full {}; the best of the longer ones {} (at most {AS_GOOD} \
                 worse)",
                shown(usual.loss),
                shown(full.loss),
                shown(best)
            ),
        );
        let share = usual.kept_bytes as f64 / full.kept_bytes as f64;
        outcome.figure("memory of truncated over full", share);
        outcome.check(
            share <= KEPT,
            format!(
                "what it keeps for the backward pass is {} of what the full one keeps (at most {KEPT})",
                shown(share)
            ),
        );
    }
    let points = |runs: &[OnText]| -> Vec<(f64, f64)> {
        let runs = runs.iter();
        runs.map(|run| (run.steps as f64, run.loss)).collect()
    };
    let equal = format!("{EQUAL} updates each");
    outcome.picture(
        chart(
            "Loss on text against truncation",
            "After the same characters the loss rises with the steps, after the same number of updates it falls.",
            (log("steps that the gradient goes back"), linear("validation loss, nats a character")),
            vec![
                curve("the same characters", 0, Mark::Dots, points(&texts.characters)),
                curve(equal, 1, Mark::Dots, points(&texts.updates)),
            ],
        ),
        "The same model; the last point after the same characters is the full gradient. After the same characters the shorter chunks have made more updates; after the same updates the \
         longer ones have seen more characters.",
    );
}

fn decide_far(outcome: &mut Outcome, told: &[Told], distance: usize) -> Option<Best> {
    let mut table = Table::new(
        "a symbol far back",
        [
            "truncated at",
            "distance",
            "updates",
            "loss at the answer nats",
            "lowest run",
            "highest run",
        ],
    );
    for run in told {
        table.row([
            run.bptt.into(),
            distance.into(),
            run.updates.into(),
            run.loss().into(),
            run.losses[0].into(),
            run.losses[run.losses.len() - 1].into(),
        ]);
    }
    outcome.table(table);
    // Without the cause nothing lies too far back; the same runs are looked at.
    let best = |is_meant: &dyn Fn(usize) -> bool| {
        let meant = told.iter().filter(|run| is_meant(run.bptt));
        meant.min_by(|a, b| a.loss().total_cmp(&b.loss())).copied()
    };
    // Most chunks of twice the distance hold a symbol with its answer; the longest ones have the fewest updates.
    let short = best(&|bptt| bptt < DISTANCE)?;
    let long = best(&|bptt| bptt >= 2 * DISTANCE)?;
    let best = Best {
        distance,
        short,
        long,
    };
    outcome.figure("distance", distance);
    outcome.check(
        best.more() >= UNTAUGHT,
        format!(
            "a symbol {distance} steps back is not taught where the gradient stops before it: {} nats at the answer, truncated at {}, the middle of {RUNS} runs; {} more than where it reaches \
             the symbol (at least {UNTAUGHT} more; guessing costs 1.386)",
            shown(short.loss()),
            short.bptt,
            shown(best.more())
        ),
    );
    outcome.check(
        best.is_told(),
        format!(
            "it is told where the gradient reaches it: {} nats, truncated at {} (at most {TOLD})",
            shown(long.loss()),
            long.bptt
        ),
    );
    let points = told.iter().map(|run| (run.bptt as f64, run.loss()));
    let guess = told
        .iter()
        .map(|run| (run.bptt as f64, libm::log(f64::from(SYMBOLS))));
    let mut y = linear("loss at the answer, nats");
    y.from_zero = true;
    outcome.picture(
        chart(
            &format!("Telling a symbol {distance} steps back"),
            "Where the truncation is shorter than the distance the loss stays higher, near that of guessing.",
            (log("steps that the gradient goes back"), y),
            vec![
                curve("loss at the answer", 0, Mark::Dots, points),
                curve("guessing", 1, Mark::Thin, guess),
            ],
        ),
        "The state is carried on from chunk to chunk in every run, so that the symbol could be remembered: but no gradient ever says that it should.",
    );
    Some(best)
}

impl Best {
    /// What an answer costs more where the gradient does not reach the symbol.
    fn more(&self) -> f64 {
        self.short.loss() - self.long.loss()
    }

    fn is_told(&self) -> bool {
        self.long.loss() <= TOLD
    }
}

fn explain(outcome: &mut Outcome, texts: &Texts, best: Option<Best>) {
    let loss = |runs: &[OnText], bptt| Texts::of(runs, bptt).map_or(f64::NAN, |run| run.loss);
    let updates = |bptt| Texts::of(&texts.characters, bptt).map_or(0, |run| run.updates);
    let stream = best.map_or_else(String::new, |best| {
        let Best {
            distance,
            short,
            long,
        } = best;
        let beyond = if short.loss() >= GUESSED {
            format!(
                "the gradient of {} steps does not reach that far, and the answer costs about what guessing does ({} nats in the middle of {RUNS} runs, {} in the lowest)",
                short.bptt,
                shown(short.loss()),
                shown(short.losses[0])
            )
        } else {
            format!(
                "the gradient of {} steps does not reach that far, and the answer costs less than guessing all the same ({} nats in the middle of {RUNS} runs, {} in the lowest): the cell kept a trace of it",
                short.bptt,
                shown(short.loss()),
                shown(short.losses[0])
            )
        };
        let within = if best.is_told() {
            format!(
                "with {} steps it is told ({} nats)",
                long.bptt,
                shown(long.loss())
            )
        } else {
            format!(
                "with {} steps it is not told either ({} nats): the training was too short",
                long.bptt,
                shown(long.loss())
            )
        };
        format!(" On a stream where a symbol returns after {distance} steps of noise, {beyond}; {within}.")
    });
    outcome.seen = format!(
        "One model, one text, the same characters seen: only the number of steps that the gradient goes back differs. On Latin, truncated at {USUAL}, the loss is {} nats after {} updates; \
         the full gradient has {} after {}.{stream}",
        shown(loss(&texts.characters, Some(USUAL))),
        updates(Some(USUAL)),
        shown(loss(&texts.characters, None)),
        updates(None),
    );
    let (cut, long) = (
        loss(&texts.updates, Some(USUAL)),
        loss(&texts.updates, Some(LONGEST)),
    );
    let compared = if long < cut {
        "the longer ones are better then, having seen more"
    } else {
        "even so the longer ones are not better"
    };
    outcome.beyond = format!(
        "The verdict on the text rests on what is held equal. After the same characters it compares {} updates with {}: it says that shorter chunks move the weights more often, not that a \
         short gradient is as good as a long one. After {EQUAL} updates each the loss is {} truncated at {USUAL} and {} at {LONGEST}: {compared}. The notes answer that quality does not suffer since the gradient is approximated. \
         It is not an approximation that gets closer with more training: what is cut off is always the same part. It does no harm only where little depends on what lies further back, as in \
         most text. Nor is the reach a wall: where a gated cell keeps a trace beyond it, what is learnt within may come to use it; nothing teaches the cell to keep one.",
        updates(Some(USUAL)),
        updates(None),
        shown(cut),
        shown(long),
    );
}
