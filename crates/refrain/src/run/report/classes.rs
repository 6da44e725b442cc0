//! How a classifier does by class: a confusion matrix, the worst mistakes, a table.

use std::cmp::Reverse;

use minijinja::{Value, context};

use super::Report;
use super::words::{count, figure, percent, thousands};
use crate::Result;
use crate::metrics::{ClassReport, Confused};
use crate::run::plot::{Cell, HeatMap};

/// Classes in the matrix; of more, the most frequent.
const CLASSES_DRAWN: usize = 60;
/// Rows of the tables; of more, the most frequent.
const CLASSES_LISTED: usize = 200;
const MISTAKES_LISTED: usize = 10;
/// Characters of a label in a sentence or a table.
const LABEL_CHARACTERS: usize = 60;

/// The section of a classifier; none where nothing was scored.
pub(super) fn section(report: &Report<'_>) -> Result<Option<Value>> {
    let Some(classes) = report.classes.filter(|classes| classes.scored > 0) else {
        return Ok(None);
    };
    let drawn = chosen(classes, CLASSES_DRAWN);
    let listed = chosen(classes, CLASSES_LISTED);
    let rows = listed.iter().map(|&class| row(classes, class));
    let worst = classes.confusion.confused(MISTAKES_LISTED);
    let confused = worst.iter().map(|pair| mistake(classes, pair));
    let map_said = say_map(classes, &drawn);
    Ok(Some(context! {
        said => say(classes, report.scored_part, worst.first()),
        map => map(classes, &drawn, map_said.clone())?,
        map_said,
        confused => confused.collect::<Vec<_>>(),
        rows => rows.collect::<Vec<_>>(),
        table_said => say_table(classes, listed.len()),
    }))
}

/// The confusion matrix alone, as SVG.
pub(super) fn confusion(classes: &ClassReport) -> Result<String> {
    let drawn = chosen(classes, CLASSES_DRAWN);
    map(classes, &drawn, say_map(classes, &drawn))
}

/// The classes to show, in their order: all, or the most frequent ones.
fn chosen(classes: &ClassReport, most: usize) -> Vec<u32> {
    let mut chosen: Vec<u32> = (0..).take(classes.classes.len()).collect();
    if chosen.len() > most {
        let scores = |&class: &u32| classes.classes[class as usize].scores;
        chosen.sort_by_key(|class| Reverse((scores(class).support, scores(class).predicted)));
        chosen.truncate(most);
        chosen.sort_unstable();
    }
    chosen
}

fn say(classes: &ClassReport, part: &str, worst: Option<&Confused>) -> Vec<String> {
    let of = if part.is_empty() {
        String::new()
    } else {
        format!(" of the {part} part")
    };
    let (right, all) = (classes.confusion.right(), classes.scored);
    let mut said = vec![format!(
        "{} of {}{of} are right: {}.",
        thousands(right),
        count(all, "label", "labels"),
        percent(classes.accuracy)
    )];
    if let Some(baseline) = &classes.baseline {
        said[0] += &format!(
            " Saying “{}” to everything would reach {}.",
            short(&baseline.label),
            percent(baseline.accuracy)
        );
    }
    said[0] += &format!(
        " Macro F1, the mean over the classes, is {}; balanced accuracy, the mean of their recall, is {}.",
        figure(classes.macro_f1),
        percent(classes.balanced_accuracy),
    );
    said.push(match worst {
        Some(pair) => {
            let support = classes.classes[pair.truth as usize].scores.support;
            format!(
                "The most frequent mistake takes “{}” for “{}”: {}, {} of that class.",
                short(classes.label(pair.truth)),
                short(classes.label(pair.prediction)),
                count(pair.count, "time", "times"),
                percent(pair.count as f64 / support as f64)
            )
        }
        None => "There is not a single mistake.".into(),
    });
    said
}

fn say_map(classes: &ClassReport, drawn: &[u32]) -> String {
    let mut said = String::from(
        "Each row is a true class, each column a prediction; the darker a square, the larger its share of the row. \
         What is right lies on the diagonal.",
    );
    if drawn.len() < classes.classes.len() {
        said += &format!(
            " The {} most frequent of {} classes are shown.",
            drawn.len(),
            thousands(classes.classes.len() as u64)
        );
    }
    said
}

fn say_table(classes: &ClassReport, listed: usize) -> String {
    let all = classes.classes.len();
    if listed < all {
        format!(
            "The {listed} most frequent of {} classes",
            thousands(all as u64)
        )
    } else {
        count(all as u64, "class", "classes")
    }
}

fn map(classes: &ClassReport, drawn: &[u32], description: String) -> Result<String> {
    let mut cells = Vec::new();
    for (row, &truth) in drawn.iter().enumerate() {
        let support = classes.classes[truth as usize].scores.support;
        for (column, &prediction) in drawn.iter().enumerate() {
            let count = classes.confusion.count(truth, prediction);
            if count > 0 {
                cells.push(Cell {
                    row,
                    column,
                    strength: count as f64 / support as f64,
                    text: brief(count),
                });
            }
        }
    }
    let names: Vec<String> = drawn
        .iter()
        .map(|&class| classes.label(class).to_owned())
        .collect();
    let key = [0.01, 0.1, 0.5, 1.0].map(|share| (share, format!("{:.0}%", 100.0 * share)));
    HeatMap {
        title: "Confusion of classes".into(),
        description,
        row_label: "truth".into(),
        column_label: "predicted".into(),
        rows: names.clone(),
        columns: names,
        wide_cells: false,
        cells,
        key: key.into(),
    }
    .to_svg()
}

fn row(classes: &ClassReport, class: u32) -> Value {
    let of = &classes.classes[class as usize].scores;
    let ratio = |value: f64| format!("{value:.3}");
    // What was never predicted has no precision, what never occurred no recall.
    let precision = (of.predicted > 0).then(|| ratio(of.precision));
    let recall = (of.support > 0).then(|| ratio(of.recall));
    let f1 = of.occurs().then(|| ratio(of.f1));
    let ratios = [precision, recall, f1].map(|ratio| ratio.unwrap_or_else(|| "–".into()));
    let numbers = [of.support, of.predicted].map(thousands);
    let scores: Vec<String> = ratios.into_iter().chain(numbers).collect();
    context! { label => short(classes.label(class)), scores }
}

fn mistake(classes: &ClassReport, pair: &Confused) -> Value {
    let support = classes.classes[pair.truth as usize].scores.support;
    context! {
        truth => short(classes.label(pair.truth)),
        prediction => short(classes.label(pair.prediction)),
        count => thousands(pair.count),
        share => percent(pair.count as f64 / support as f64),
    }
}

fn short(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARACTERS) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None if label.trim().is_empty() => "(blank)".into(),
        None => label.to_owned(),
    }
}

/// A count in four letters: `9999`, `12k`, `1.2M`.
fn brief(count: u64) -> String {
    match count {
        ..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        1_000_000..10_000_000 => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
        10_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_brief() {
        let counts = [
            0,
            9999,
            10_000,
            999_999,
            1_250_000,
            12_345_678,
            3_000_000_000,
        ];
        assert_eq!(counts.map(brief).join(" "), "0 9999 10k 999k 1.2M 12M 3G");
    }

    #[test]
    fn labels_are_short_and_never_nothing() {
        assert_eq!(short(" "), "(blank)");
        assert_eq!(short(&"가".repeat(61)), "가".repeat(60) + "…");
        assert_eq!(short("a b"), "a b");
    }
}
