//! `refrain inspect gradients`: how far back the loss of one step reaches.

use std::io::Write as _;

use refrain::inspect::gradients::Reach;
use refrain::run::look::{GradientOptions, Gradients, PositionGradients, gradients};
use refrain::run::model::AnyModel;
use refrain::run::plot::{gradients_chart, gradients_svg};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::material::{self, Source};
use super::{TERMINAL, check_drawing};
use crate::args::GradientsArgs;
use crate::commands::drawings;
use crate::commands::letters::{self, Ends};
use crate::context::Context;
use crate::errors::Exit;
use crate::escape::one_line;
use crate::machine;
use crate::table::{Align, Table, thousands};

/// What `--json` writes.
#[derive(Serialize)]
struct Found<'a> {
    task: &'a str,
    #[serde(flatten)]
    found: &'a Gradients,
}

/// Distances of the table.
const DISTANCES: [usize; 13] = [0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000];
/// Columns that a line of a shaded text takes.
const WIDTH: usize = 76;
/// Tokens that are shown of what a prediction rests on.
const MOST_TOKENS: usize = 512;

pub(super) fn run(args: &GradientsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let plot = args.plot.plot.as_ref();
    check_drawing(plot, context)?;
    let model = AnyModel::open(&args.model)?;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let source = Source::new(&args.material, true);
    let reading = material::read(&model, &source, count(args.max), context)?;
    let options = GradientOptions {
        reach: Reach {
            max_distance: count(args.max_distance),
            warm_up: count(args.warm_up),
        },
        probes: count(args.probes),
        positions: args.positions.iter().map(|&at| count(at)).collect(),
        seed: context.seed.unwrap_or(0),
        available_bytes: machine::available_bytes(),
    };
    let found = gradients(&model, &context.compute(), &reading, &options)?;
    if let Some(Some(path)) = plot {
        drawings::write(path, gradients_svg(&found)?)?;
    }
    if context.json {
        context.out.json(&Found {
            task: model.config().task.name(),
            found: &found,
        })?;
        return Ok(Exit::Done);
    }
    writeln!(
        context.out,
        "gradient norms, medians of {} losses\n",
        found.probes
    )?;
    for part in table(&found).parts(TERMINAL, &[0]) {
        writeln!(context.out, "{part}")?;
    }
    if plot == Some(&None) {
        let chart = gradients_chart(&found.layers, (1, 1));
        let drawn = letters::drawn(&chart, Ends::Values, TERMINAL);
        writeln!(context.out, "{drawn}")?;
    }
    for position in &found.positions {
        write!(context.out, "{}", shaded(position))?;
    }
    if let Some(Some(path)) = plot {
        writeln!(context.out, "drawing  {}", path.display())?;
    }
    Ok(Exit::Done)
}

/// A row for some distances, a column for each layer and state, and the half-lives. Where not all losses reach as far, how many
/// do stands behind a distance.
fn table(found: &Gradients) -> Table {
    let columns = std::iter::repeat_n(Align::Right, found.layers.len());
    let mut table = Table::new(std::iter::once(Align::Left).chain(columns));
    let names = found.layers.iter();
    let names = names.map(|layer| format!("{} {}", layer.name, layer.state.letter()));
    table.row(std::iter::once("distance".to_owned()).chain(names));
    let reached = found.layers.iter().map(|layer| layer.distance.len());
    let last = reached.max().unwrap_or(0).saturating_sub(1);
    let mut distances: Vec<usize> = DISTANCES.into_iter().filter(|&at| at < last).collect();
    distances.push(last);
    for distance in distances {
        let medians = found.layers.iter().map(|layer| {
            let median = layer.median.get(distance);
            let few = layer.count.get(distance);
            let few = few.filter(|&&count| count < found.probes);
            let few = few.map_or_else(String::new, |count| format!(" ({count})"));
            median.map_or_else(|| "-".into(), |median| format!("{median:.2e}{few}"))
        });
        table.row(std::iter::once(distance.to_string()).chain(medians));
    }
    let half_lives = found.layers.iter().map(|layer| match layer.half_life {
        Some(steps) => format!("{steps:.1}"),
        // Of nothing there is no half.
        None if layer.median.iter().all(|&median| median == 0.0) => "-".into(),
        None => {
            let common = layer
                .count
                .iter()
                .rposition(|&count| 2 * count >= found.probes);
            format!("> {}", common.unwrap_or(0))
        }
    });
    table.row(std::iter::once("half-life".to_owned()).chain(half_lives));
    table
}

/// Bars by height, from nothing to all.
const BARS: [char; 9] = [
    ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}',
    '\u{2588}',
];

/// A token on one line, white space shown.
fn sign(token: &str) -> String {
    match token {
        " " => "\u{2423}".into(),
        // A vocabulary shows a line break by its escape.
        "\n" | "\\n" => "\u{21b5}".into(),
        token => one_line(token),
    }
}

/// A text, and below each token a bar, the higher the more the prediction after it rests on it.
fn shaded(of: &PositionGradients) -> String {
    let greatest = of.inputs.iter().copied().fold(0.0, f64::max);
    let bar = |norm: f64| {
        let part = if greatest > 0.0 { norm / greatest } else { 0.0 };
        let height = (part * (BARS.len() - 1) as f64).round();
        BARS[(height as usize).min(BARS.len() - 1)]
    };
    let mut text = format!(
        "before {} at {}: {:.3} nats\n",
        sign(&of.token),
        of.position,
        of.loss_nats
    );
    if of.tokens.len() > MOST_TOKENS {
        text += &format!(
            "  the last {MOST_TOKENS} of {} tokens\n",
            thousands(of.tokens.len() as u64)
        );
    }
    let (mut line, mut bars) = (String::new(), String::new());
    let mut flush = |line: &mut String, bars: &mut String| {
        text += &format!("  {}\n  {}\n", line, bars.trim_end());
        line.clear();
        bars.clear();
    };
    // Words stand apart; pieces of a text say themselves where it has white space. (A single one may be written as an escape.)
    let is_word = |token: &String| token.chars().nth(1).is_some() && !token.starts_with('\\');
    let apart = of.tokens.iter().any(is_word)
        && !of
            .tokens
            .iter()
            .any(|token| token.contains(char::is_whitespace));
    let shown = of.tokens.iter().zip(&of.inputs).take(MOST_TOKENS);
    for (token, &norm) in shown.collect::<Vec<_>>().into_iter().rev() {
        let token = sign(token);
        if !line.is_empty() && line.width() + token.width() + 1 > WIDTH {
            flush(&mut line, &mut bars);
        }
        if apart && !line.is_empty() {
            line.push(' ');
            bars.push(' ');
        }
        bars.extend(std::iter::repeat_n(bar(norm), token.width()));
        line += &token;
    }
    flush(&mut line, &mut bars);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prediction_rests_on_is_drawn_below_the_text() {
        let tokens = ["n", "\u{1b}", "\u{ac00}", "\n", " ", "a"];
        let of = PositionGradients {
            position: 6,
            token: "d".into(),
            loss_nats: 0.25,
            tokens: tokens.map(str::to_owned).to_vec(),
            inputs: vec![1.0, 0.5, 0.25, 0.1, 0.0, 0.01],
            layers: Vec::new(),
        };
        insta::assert_snapshot!(shaded(&of));
    }
}
