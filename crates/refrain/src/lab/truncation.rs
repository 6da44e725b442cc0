//! Whether truncation costs quality: on a text, and where what matters lies further back.

use rand::RngExt;

use super::chart::{chart, curve, linear, log};
use super::figures::shown;
use super::text::{Cut, latin, small, task};
use super::training::{History, adam, train};
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
/// Nats at an answer: told, half of what guessing one of four costs (ln 4 = 1.386) or less; and not told.
const TOLD: f64 = 0.69;
const NOT_TOLD: f64 = 1.1;
const SYMBOLS: u32 = 4;
/// Steps between a symbol and where it must be told: so many that the untrained cell keeps no trace, so few that a gradient of
/// an LSTM that begins as usual arrives.
const DISTANCE: usize = 16;

/// A stream: a symbol, dots, a question mark, the symbol again; and so on.
struct Far {
    data: LanguageModelData,
    /// Which targets of the test stream are answers.
    is_answer: Vec<bool>,
}

fn far(conditions: &Conditions<'_>, distance: usize, tokens: usize) -> Result<Far> {
    // Symbols a to d, a dot that says nothing, and the question mark.
    let vocabulary = Vocabulary::from_chars("abcd.?".chars())?;
    let id = |symbol: char| vocabulary.id(symbol).unwrap_or(0);
    let symbols: Vec<u32> = "abcd".chars().map(id).collect();
    let mut rng = keyed_rng(conditions.seed, Purpose::Sample, 0);
    let mut stream = |count: usize| {
        let (mut ids, mut answers) = (Vec::new(), Vec::new());
        while ids.len() < count {
            let symbol = symbols[rng.random_range(0..SYMBOLS) as usize];
            ids.push(symbol);
            // The answer stands `distance` steps after the symbol.
            ids.resize(ids.len() + distance.saturating_sub(2), id('.'));
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
    history: History,
    loss: f64,
    kept_bytes: f64,
    seconds: f64,
}

fn on_text(conditions: &Conditions<'_>) -> Result<Vec<OnText>> {
    let data = latin()?;
    let config = small(CellKind::Lstm, conditions.choose(48, 128));
    let epochs = conditions.choose(4, 12);
    let batch = 8;
    let cuts: &[Option<usize>] = conditions.choose(
        &[Some(8), Some(32), Some(128), None],
        &[
            Some(8),
            Some(16),
            Some(32),
            Some(64),
            Some(128),
            Some(256),
            None,
        ],
    );
    let mut found = Vec::new();
    for &bptt in cuts {
        let said = bptt.map_or("full".into(), |steps| format!("truncated at {steps}"));
        conditions.say(format!("Latin, {said}"));
        let mut task = task(&config, &data, Cut { batch, bptt }, conditions.seed)?;
        let steps = epochs * crate::train::Task::steps_per_epoch(&task);
        let start = (conditions.clock)();
        let history = train(conditions, &mut task, &adam(steps, 0.005, conditions.seed))?;
        let seconds = (conditions.clock)() - start;
        let length = bptt.unwrap_or(data.train.len() / batch);
        let memory = config.memory_estimate(data.vocabulary.len(), batch, length)
            - config.memory_estimate(data.vocabulary.len(), batch, 0);
        found.push(OnText {
            bptt,
            loss: history.score_loss(),
            history,
            kept_bytes: memory,
            seconds,
        });
    }
    Ok(found)
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let on_text = on_text(conditions)?;
    let distance = if conditions.without_cause {
        2
    } else {
        DISTANCE
    };
    let tokens = conditions.choose(80_000, 400_000);
    let far = far(conditions, distance, tokens)?;
    let cuts: &[usize] = conditions.choose(&[8, 64], &[8, 16, 32, 64, 128, 256]);
    let mut config = small(CellKind::Lstm, 32);
    config.init = Init::Orthogonal;
    let mut told = Vec::new();
    for &bptt in cuts {
        conditions.say(format!(
            "a symbol {distance} steps before, truncated at {bptt}"
        ));
        let cut = Cut {
            batch: 16,
            bptt: Some(bptt),
        };
        let mut task = task(&config, &far.data, cut, conditions.seed)?;
        // The same characters for all.
        let epochs = conditions.choose(18, 10);
        let steps = epochs * crate::train::Task::steps_per_epoch(&task);
        train(conditions, &mut task, &adam(steps, 0.01, conditions.seed))?;
        told.push((bptt, steps, answer_loss(conditions, &mut task, &far)));
    }
    let mut outcome = Outcome::new(&EXPERIMENT);
    decide_text(&mut outcome, &on_text);
    decide_far(&mut outcome, &told, distance, conditions.without_cause);
    explain(&mut outcome, distance);
    Ok(outcome)
}

fn decide_text(outcome: &mut Outcome, found: &[OnText]) {
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
    for run in found {
        let at = run.bptt.map_or("full".into(), super::Figure::from);
        table.row([
            at,
            run.history.steps.len().into(),
            run.loss.into(),
            (run.kept_bytes / 1e6).into(),
            run.seconds.into(),
        ]);
    }
    outcome.table(table);
    let usual = found.iter().find(|run| run.bptt == Some(USUAL));
    let longer = found
        .iter()
        .filter(|run| run.bptt.is_none_or(|steps| steps > USUAL));
    let best = longer.fold(f64::INFINITY, |best, run| best.min(run.loss));
    let full = found.iter().find(|run| run.bptt.is_none());
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
        let share = usual.kept_bytes / full.kept_bytes;
        outcome.figure("memory of truncated over full", share);
        outcome.check(
            share <= 0.1,
            format!(
                "what it keeps is {} of what the full one keeps (at most 0.1)",
                shown(share)
            ),
        );
    }
    let points = |of: &dyn Fn(&OnText) -> f64| -> Vec<(f64, f64)> {
        let cut = found
            .iter()
            .filter_map(|run| Some((run.bptt? as f64, of(run))));
        cut.collect()
    };
    let mut series = vec![curve("truncated", 0, Mark::Dots, points(&|run| run.loss))];
    if let Some(full) = full {
        let ends = points(&|_| full.loss);
        series.push(curve("full", 1, Mark::Thin, ends));
    }
    outcome.picture(
        chart(
            "Loss on text against truncation",
            "Truncated at a few dozen steps the loss is as low as at more.",
            (log("steps that the gradient goes back"), linear("validation loss, nats a character")),
            series,
        ),
        "The same model after the same number of characters. The full gradient comes once for a whole pass over the text, so that it has made far fewer updates.",
    );
}

fn decide_far(
    outcome: &mut Outcome,
    told: &[(usize, u64, f64)],
    distance: usize,
    without_cause: bool,
) {
    let mut table = Table::new(
        "a symbol far back",
        [
            "truncated at",
            "distance",
            "updates",
            "loss at the answer nats",
        ],
    );
    for &(bptt, steps, loss) in told {
        table.row([bptt.into(), distance.into(), steps.into(), loss.into()]);
    }
    outcome.table(table);
    // Without the cause nothing lies too far back; the same runs are looked at.
    let reach = if without_cause { DISTANCE } else { distance };
    let short = told.iter().filter(|run| run.0 < reach);
    let least = short.fold(f64::INFINITY, |least, run| least.min(run.2));
    // Most chunks of twice the distance hold a symbol with its answer; the longest ones have the fewest updates.
    let long = told.iter().filter(|run| run.0 >= 2 * reach);
    let long = long.fold(f64::INFINITY, |least, run| least.min(run.2));
    outcome.figure("distance", distance);
    outcome.check(
        least >= NOT_TOLD,
        format!(
            "a symbol {distance} steps back is not told where the gradient stops before it: {} nats at the answer (at least {NOT_TOLD}; guessing 1.386)",
            shown(least)
        ),
    );
    outcome.check(
        long <= TOLD,
        format!(
            "it is told where the gradient reaches it: {} nats (at most {TOLD})",
            shown(long)
        ),
    );
    let points = told.iter().map(|run| (run.0 as f64, run.2));
    let guess = told
        .iter()
        .map(|run| (run.0 as f64, libm::log(f64::from(SYMBOLS))));
    let mut y = linear("loss at the answer, nats");
    y.from_zero = true;
    outcome.picture(
        chart(
            &format!("Telling a symbol {distance} steps back"),
            "Where the truncation is shorter than the distance the loss stays that of guessing.",
            (log("steps that the gradient goes back"), y),
            vec![
                curve("loss at the answer", 0, Mark::Dots, points),
                curve("guessing", 1, Mark::Thin, guess),
            ],
        ),
        "The state is carried on from chunk to chunk in every run, so that the symbol could be remembered: but no gradient ever says that it should.",
    );
}

fn explain(outcome: &mut Outcome, distance: usize) {
    outcome.seen = format!(
        "One model, one text, the same characters seen: only the number of steps that the gradient goes back differs. On Latin a few dozen are enough, and \
         shorter chunks mean more updates. On a stream where a symbol returns after {distance} steps the runs whose gradient does not reach that far stay at \
         guessing, whatever else they learn."
    );
    outcome.beyond = "The notes answer that quality does not suffer since the gradient is approximated. It is not an approximation that gets closer with more training: what is cut off is \
        always the same part. It does no harm only where little depends on what lies further back, as in most text. Beside that, the comparison depends on \
        what is held equal: with the same number of updates, not characters, longer chunks see more data and come out better. Nor is the reach a wall: \
        where a gated cell keeps a trace beyond it, what is learnt within may come to use it; nothing teaches the cell to keep one."
        .into();
}
