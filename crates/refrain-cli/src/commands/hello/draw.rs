//! The example as the notes' figure draws it.

use std::fmt::Write as _;

use refrain::nn::CellKind;

use super::network::{Drawn, ENOUGH_NATS, HIDDEN, LEARNING_RATE, Reading, Step, VOCABULARY};

/// Columns before the first letter's.
const MARGIN: usize = 12;
/// Columns of a letter.
const COLUMN: usize = 13;

pub(super) fn introduction(cell: CellKind) -> String {
    let cell = match cell {
        CellKind::Rnn => "vanilla",
        CellKind::Gru => "GRU",
        CellKind::Lstm => "LSTM",
        CellKind::Mlp => "without memory",
    };
    format!(
        "The training text is \"hello\", the vocabulary [h, e, l, o]. A letter goes in as a\n\
         one-hot vector; {HIDDEN} hidden units ({cell}) take it in beside what they remember of\n\
         the letters before; out comes a score for each letter that may follow. The\n\
         score of the right one stands in [ ].\n"
    )
}

/// Inputs below, hidden values between, scores above; time goes to the right.
pub(super) fn figure(reading: &Reading) -> String {
    let steps = &reading.steps;
    let mut text = String::new();
    line(&mut text, "target", steps, |_, step| {
        format!("{}  ", step.target)
    });
    text.push('\n');
    for (row, letter) in VOCABULARY.iter().enumerate() {
        let margin = match row {
            0 => format!("scores   {letter}"),
            _ => format!("         {letter}"),
        };
        line(&mut text, &margin, steps, |_, step| {
            let score = step.scores[row];
            if step.target == *letter {
                format!("[{score:5.2}]")
            } else {
                format!("{score:5.2} ")
            }
        });
    }
    line(&mut text, "", steps, |_, _| "↑  ".into());
    for unit in 0..HIDDEN {
        let margin = if unit == 0 { "hidden" } else { "" };
        line(&mut text, margin, steps, |t, step| {
            let value = step.hidden[unit];
            // The middle row carries the arrows of time.
            if unit == HIDDEN / 2 && t > 0 {
                format!("───→ {value:5.2} ")
            } else {
                format!("{value:5.2} ")
            }
        });
    }
    line(&mut text, "", steps, |_, _| "↑  ".into());
    for (row, letter) in VOCABULARY.iter().enumerate() {
        let margin = match row {
            0 => format!("one-hot  {letter}"),
            _ => format!("         {letter}"),
        };
        line(&mut text, &margin, steps, |_, step| {
            format!("{}  ", u8::from(step.input == *letter))
        });
    }
    text.push('\n');
    line(&mut text, "input", steps, |_, step| {
        format!("{}  ", step.input)
    });
    text
}

/// The margin, then a cell for each step, leaning to the right.
fn line(text: &mut String, margin: &str, steps: &[Step], cell: impl Fn(usize, &Step) -> String) {
    let mut line = format!("{margin:MARGIN$}");
    for (t, step) in steps.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(line, "{:>COLUMN$}", cell(t, step));
    }
    *text += line.trim_end();
    text.push('\n');
}

/// What came out at each step, what it cost, and the sum.
pub(super) fn verdicts(reading: &Reading) -> String {
    let mut text = String::new();
    for (t, step) in (1..).zip(&reading.steps) {
        let Step {
            input,
            output,
            target,
            right,
            loss_nats,
            ..
        } = step;
        let verdict = match right {
            true => "right".to_owned(),
            false => format!("wrong: {target}"),
        };
        let step = format!("{input} -> {output}, {verdict}");
        let _ = writeln!(text, "  {step:<20}L_{t} = {loss_nats:.4} nats");
    }
    let terms: Vec<_> = (1..=reading.steps.len())
        .map(|t| format!("L_{t}"))
        .collect();
    let _ = writeln!(
        text,
        "  {:20}L   = {} = {:.4} nats",
        "",
        terms.join(" + "),
        reading.loss_nats
    );
    text
}

/// The sum of the losses at some steps, and at the end.
pub(super) fn training(losses: &[f64], after: f64) -> String {
    let mut text = format!(
        "  A step: the word forward, the loss, backward through time, and Adam (learning\n  \
         rate {LEARNING_RATE}) moves the weights. It ends when L is below {ENOUGH_NATS}.\n\n"
    );
    let shown = [0, 10, 20, 50, 100, 200, 500, 1000];
    let shown = shown.into_iter().filter(|&step| step < losses.len());
    let rows = shown.map(|step| (step, losses[step]));
    for (step, loss) in rows.chain([(losses.len(), after)]) {
        let _ = writeln!(text, "  after {step:4} steps  L = {loss:.4} nats");
    }
    text
}

/// Each draw: input, hidden values, scores, probabilities, the letter drawn.
pub(super) fn sample(steps: &[Drawn]) -> String {
    let letters = |width: usize| -> String {
        VOCABULARY
            .iter()
            .map(|letter| format!("{letter:>width$}"))
            .collect()
    };
    let mut text = String::from(
        "  Begin with h. The scores become probabilities (softmax); a letter is drawn by\n  \
         them, not simply the best one; it goes in again as the next input.\n\n",
    );
    let _ = writeln!(
        text,
        "  {:5}  {:18}  {:20}  {:20}  drawn",
        "input", "hidden", "scores", "softmax"
    );
    let _ = writeln!(
        text,
        "  {:5}  {:18}  {}  {}",
        "",
        "",
        letters(5),
        letters(5)
    );
    for step in steps {
        let hidden: String = step
            .hidden
            .iter()
            .map(|value| format!("{value:6.2}"))
            .collect();
        let scores: String = step
            .scores
            .iter()
            .map(|score| format!("{score:5.1}"))
            .collect();
        let softmax: String = step
            .probabilities
            .iter()
            .map(|p| format!("{p:5.2}"))
            .collect();
        let _ = writeln!(
            text,
            "  {:<5}  {hidden}  {scores}  {softmax}  {}",
            step.input, step.drawn
        );
    }
    let word: String = steps.iter().map(|step| step.drawn).collect();
    let _ = writeln!(text, "\n  h{word}");
    text
}
