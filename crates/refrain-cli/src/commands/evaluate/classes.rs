//! How a classifier scores, as text for a terminal.

use std::cmp::Reverse;

use refrain::metrics::{ClassReport, Confused};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::escape::visible;
use crate::table::{Align, Table, thousands};

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns of a class's name at most.
const LABEL_WIDTH: usize = 30;
/// With more classes than this there is no matrix but a list of the mistakes.
const MATRIX_CLASSES: usize = 12;
const MISTAKES: usize = 10;
/// Classes in the table unless all are asked for.
const CLASSES: usize = 50;
/// Names of the columns of a matrix where the classes' own are too long, one a class.
const LETTERS: &str = "abcdefghijkl";
/// Counts of a matrix are abbreviated where else fewer columns than this are left for the names of classes.
const SHORTEST_LABEL: usize = 8;

/// The summary, the table of classes and what was taken for what: a matrix of few classes, of more the worst mistakes.
///
/// Of many classes the most frequent are listed, unless `all`.
pub(crate) fn text(report: &ClassReport, all: bool) -> String {
    let mut text = summary(report).to_string();
    text += &format!(
        "\n{}",
        scores(report, if all { usize::MAX } else { CLASSES })
    );
    if report.classes.len() <= MATRIX_CLASSES {
        text += &format!("\nrows: truth, columns: predicted\n{}", matrix(report));
    } else if let Some(mistakes) = mistakes(report) {
        text += &format!("\nmost frequent mistakes\n{mistakes}");
    }
    text
}

fn summary(report: &ClassReport) -> Table {
    let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
    let right = thousands(report.confusion.right());
    let scored = thousands(report.scored);
    table.row(
        [
            "accuracy",
            &percent(report.accuracy),
            &format!("{right} of {scored}"),
        ]
        .map(str::to_owned),
    );
    if let Some(baseline) = &report.baseline {
        let label = label(&baseline.label, LABEL_WIDTH);
        let said = format!("always saying {label}");
        table.row(["baseline", &percent(baseline.accuracy), &said].map(str::to_owned));
    }
    table.row([
        "balanced accuracy".into(),
        percent(report.balanced_accuracy),
    ]);
    table.row(["macro F1".into(), format!("{:.3}", report.macro_f1)]);
    table
}

fn scores(report: &ClassReport, most: usize) -> String {
    let mut chosen: Vec<usize> = (0..report.classes.len()).collect();
    if chosen.len() > most {
        chosen.sort_by_key(|&class| Reverse(report.classes[class].scores.support));
        chosen.truncate(most);
        chosen.sort_unstable();
    }
    let right = std::iter::repeat_n(Align::Right, 5);
    let mut table = Table::new(std::iter::once(Align::Left).chain(right));
    let head = [
        "class",
        "precision",
        "recall",
        "F1",
        "examples",
        "predicted",
    ];
    table.row(head.map(str::to_owned));
    for &class in &chosen {
        let class = &report.classes[class];
        let of = &class.scores;
        // What was never predicted has no precision, what never occurred no recall.
        let share = |there: bool, value: f64| match there {
            true => format!("{value:.3}"),
            false => "-".into(),
        };
        table.row([
            label(&class.label, LABEL_WIDTH),
            share(of.predicted > 0, of.precision),
            share(of.support > 0, of.recall),
            share(of.occurs(), of.f1),
            thousands(of.support),
            thousands(of.predicted),
        ]);
    }
    match report.classes.len() - chosen.len() {
        0 => table.to_string(),
        others => format!(
            "{table}and {} rarer classes, with -v\n",
            thousands(others as u64)
        ),
    }
}

fn matrix(report: &ClassReport) -> Table {
    let classes = report.classes.len();
    let exact = counts(report, |count| count.to_string());
    let widths = |rows: &[Vec<String>], names: &[String]| {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].width());
            cells.chain([names[column].width()]).max().unwrap_or(0) + 2
        };
        (0..classes).map(width).sum::<usize>()
    };
    let names: Vec<String> = (report.classes.iter())
        .map(|class| label(&class.label, LABEL_WIDTH))
        .collect();
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let columns = std::iter::repeat_n(Align::Right, classes);
    if widest + widths(&exact, &names) <= WIDTH {
        let mut table = Table::new(std::iter::once(Align::Left).chain(columns));
        table.row(std::iter::once(String::new()).chain(names.iter().cloned()));
        for (name, counts) in names.iter().zip(exact) {
            table.row(std::iter::once(name.clone()).chain(counts));
        }
        return table;
    }
    let letters: Vec<String> = LETTERS.chars().map(String::from).take(classes).collect();
    // A letter and two spaces stand before the name.
    let room = |rows: &[Vec<String>]| (WIDTH - 3).saturating_sub(widths(rows, &letters));
    let rows = if room(&exact) < widest.min(SHORTEST_LABEL) {
        counts(report, brief)
    } else {
        exact
    };
    let room = room(&rows);
    let mut table = Table::new([Align::Left; 2].into_iter().chain(columns));
    let corner = [String::new(), String::new()];
    table.row(corner.into_iter().chain(letters.iter().cloned()));
    for ((class, letter), counts) in report.classes.iter().zip(&letters).zip(rows) {
        let name = label(&class.label, room.min(LABEL_WIDTH));
        table.row([letter.clone(), name].into_iter().chain(counts));
    }
    table
}

/// The cells of a matrix; a dot for nothing, which the eye passes over.
fn counts(report: &ClassReport, shown: impl Fn(u64) -> String) -> Vec<Vec<String>> {
    let classes = 0..report.classes.len() as u32;
    let cell = |truth, prediction| match report.confusion.count(truth, prediction) {
        0 => ".".into(),
        count => shown(count),
    };
    let row = |truth| classes.clone().map(|p| cell(truth, p)).collect();
    classes.clone().map(row).collect()
}

fn mistakes(report: &ClassReport) -> Option<Table> {
    let worst = report.confusion.confused(MISTAKES);
    if worst.is_empty() {
        return None;
    }
    let mut table = Table::new([Align::Left, Align::Left, Align::Right, Align::Right]);
    table.row(["truth", "predicted", "times", "of the class"].map(str::to_owned));
    for Confused {
        truth,
        prediction,
        count,
    } in worst
    {
        let support = report.classes[truth as usize].scores.support;
        table.row([
            label(report.label(truth), LABEL_WIDTH),
            label(report.label(prediction), LABEL_WIDTH),
            thousands(count),
            percent(count as f64 / support as f64),
        ]);
    }
    Some(table)
}

/// A name on one line of at most `most` columns, with nothing in it that steers a terminal.
fn label(name: &str, most: usize) -> String {
    if name.trim().is_empty() {
        return format!("{name:?}");
    }
    let shown = visible(name).replace('\n', "\\n");
    if shown.width() <= most {
        return shown;
    }
    let (mut short, mut taken) = (String::new(), 1);
    for c in shown.chars() {
        taken += c.width().unwrap_or(0);
        if taken > most {
            break;
        }
        short.push(c);
    }
    short + "…"
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// A count in four letters: `9999`, `12k`, `123M`.
fn brief(count: u64) -> String {
    match count {
        ..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        1_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refrain::metrics::Confusion;

    fn report(labels: &[&str], pairs: &[(u32, u32, usize)]) -> ClassReport {
        let mut confusion = Confusion::new(labels.len());
        for &(truth, prediction, count) in pairs {
            confusion.extend(std::iter::repeat_n((truth, prediction), count));
        }
        ClassReport::new(labels.iter().copied(), confusion)
    }

    #[test]
    fn few_classes_have_a_matrix() {
        let pairs = [(0, 0, 395), (0, 1, 49), (1, 0, 60), (1, 1, 368)];
        insta::assert_snapshot!(text(&report(&["negative", "positive"], &pairs), false));
    }

    #[test]
    fn long_names_are_columns_by_letter() {
        let labels: Vec<String> = (0..12)
            .map(|at| format!("a long name of class {at}"))
            .collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let pairs: Vec<_> = (0..12)
            .map(|at| (at, (at * at) % 12, 5000 * at as usize))
            .collect();
        let found = text(&report(&labels, &pairs), false);
        assert!(found.lines().all(|line| line.width() <= WIDTH), "{found}");
        insta::assert_snapshot!(found);
    }

    #[test]
    fn large_counts_are_abbreviated_where_all_would_not_fit() {
        let mut confusion = Confusion::new(12);
        confusion.extend((0..144).map(|at| (at / 12, at % 12)));
        for _ in 0..21 {
            confusion.merge(&confusion.clone());
        }
        let labels = (0..12).map(|at| format!("class {at}"));
        let found = text(&ClassReport::new(labels, confusion), false);
        assert!(found.lines().all(|line| line.width() <= WIDTH), "{found}");
        let row = format!("l  class 11{}", "  2M".repeat(12));
        assert!(found.ends_with(&format!("{row}\n")), "{found}");
    }

    #[test]
    fn names_cannot_break_the_table() {
        let labels = [
            "tab\there",
            "line\nbreak",
            "\u{1b}[2Jesc",
            "감정 분류",
            "",
            "\u{202e}x",
        ];
        let pairs = [(0, 1, 2), (2, 2, 3), (3, 3, 4), (4, 4, 1), (5, 3, 1)];
        insta::assert_snapshot!(text(&report(&labels, &pairs), false));
    }

    #[test]
    fn many_classes_have_their_worst_mistakes() {
        let labels: Vec<String> = (0..60).map(|at| format!("w{at}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let pairs: Vec<_> = (0..60)
            .flat_map(|at| {
                [
                    (at, at, 100 - at as usize),
                    (at, (at + 1) % 60, at as usize % 7),
                ]
            })
            .collect();
        let found = text(&report(&labels, &pairs), false);
        assert!(found.contains("and 10 rarer classes, with -v\n"), "{found}");
        assert!(!found.contains("w59 ") && found.contains("most frequent mistakes\n"));
        let mistakes = found.split("mistakes\n").nth(1).unwrap();
        assert_eq!(
            mistakes.lines().nth(1),
            Some("w6     w7             6          6.0%")
        );
        assert!(text(&report(&labels, &pairs), true).contains("w59 "));
    }

    #[test]
    fn long_names_are_shortened_by_what_the_eye_sees() {
        assert_eq!(label(&"가".repeat(20), 9), "가가가가…");
        assert_eq!(label("abcdefghij", 9), "abcdefgh…");
        assert_eq!(label(" ", 9), "\" \"");
    }
}
