//! How far off a forecaster is: beside simple means, by target, and some answers drawn beside the truth.

use minijinja::{Value, context};

use super::Report;
use super::words::{count, figure};
use crate::Result;
use crate::metrics::{ErrorMeans, ForecastReport, ForecastRoll, ForecastStretch};
use crate::run::plot::{Axis, Cell, Chart, Color, HeatMap, Mark, Series};

/// Sizes in pixels.
const WIDE: (u32, u32) = (960, 280);
/// Rows of the table; of more targets, the first ones.
const TARGETS_LISTED: usize = 50;
/// How many deviations the band around a mean is wide.
const BAND: f64 = 2.0;

/// The section of a forecaster; none where there is none.
pub(super) fn section(report: &Report<'_>) -> Result<Option<Value>> {
    let Some(forecast) = report.forecast else {
        return Ok(None);
    };
    let pictures = pictures(forecast)?;
    Ok(Some(context! {
        said => say(forecast, report.scored_part),
        pictures => pictures.into_iter().map(|(said, svg)| context! { said, svg }).collect::<Vec<_>>(),
        means => means(forecast),
        rows => rows(forecast),
        table_said => say_table(forecast),
    }))
}

/// All pictures one below the other, as one SVG.
pub(super) fn svg(forecast: &ForecastReport) -> Result<String> {
    let pictures = pictures(forecast)?;
    let (mut inner, mut y, mut width) = (String::new(), 0, 0);
    for (_, picture) in &pictures {
        let size = |name: &str| -> u32 {
            let value = picture.split(&format!(" {name}=\"")).nth(1);
            let value = value.and_then(|rest| rest.split('"').next());
            value.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        inner += &picture.replacen("<svg ", &format!("<svg y=\"{y}\" "), 1);
        inner.push('\n');
        y += size("height") + 12;
        width = width.max(size("width"));
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" viewBox=\"0 0 {width} {y}\">\n{inner}</svg>\n"
    ))
}

/// Each picture with a sentence about it.
fn pictures(forecast: &ForecastReport) -> Result<Vec<(String, String)>> {
    if let Some(roll) = &forecast.roll {
        return Ok(vec![map(roll)?]);
    }
    let all = forecast.stretches.iter();
    all.map(|stretch| chart(forecast, stretch)).collect()
}

fn say(forecast: &ForecastReport, part: &str) -> Vec<String> {
    let of = if part.is_empty() {
        String::new()
    } else {
        format!(" on the {part} part")
    };
    let ErrorMeans { mse, mae } = forecast.scaled();
    let mut said = vec![format!(
        "The mean squared error{of} is {}, the mean absolute error {}, where every target has deviation 1.",
        figure(mse),
        figure(mae)
    )];
    if forecast.roll.is_some() || forecast.loss_name == "gaussian" {
        said[0] += &format!(" The loss is {} nats a step.", figure(forecast.loss));
    }
    let scaled = forecast
        .baselines
        .iter()
        .map(|own| (own, own.errors.means()));
    let best = scaled.min_by(|a, b| a.1.mse.total_cmp(&b.1.mse));
    if let Some((own, means)) = best {
        let verdict = if mse < means.mse {
            "better"
        } else {
            "no better"
        };
        said.push(format!(
            "That is {verdict} than the best simple means, {}, with {}.",
            explained(own.name, forecast),
            figure(means.mse)
        ));
    }
    said
}

/// What a simple means says.
fn explained(name: &str, forecast: &ForecastReport) -> String {
    match (name, forecast.season) {
        ("last", _) => "the last value again".into(),
        ("seasonal", Some(season)) => format!("the value {season} steps before"),
        ("linear", _) => "a linear model of each target's own past".into(),
        ("mean", _) => "the mean of the training part".into(),
        ("frequency", _) => "how often each is there".into(),
        (name, _) => name.into(),
    }
}

fn means(forecast: &ForecastReport) -> Vec<Value> {
    let model = (
        "the model".to_owned(),
        forecast.scaled(),
        Some(forecast.loss),
    );
    let others = forecast.baselines.iter().map(|own| {
        let name = explained(own.name, forecast);
        (name, own.errors.means(), own.loss_nats)
    });
    let is_roll = forecast.roll.is_some();
    let row = |(name, ErrorMeans { mse, mae }, loss): (String, ErrorMeans, Option<f64>)| {
        let loss = loss.filter(|_| is_roll).map(figure);
        context! { name, mse => figure(mse), mae => figure(mae), loss }
    };
    std::iter::once(model).chain(others).map(row).collect()
}

fn rows(forecast: &ForecastReport) -> Vec<Value> {
    let targets = forecast.targets.iter().enumerate().take(TARGETS_LISTED);
    let row = targets.map(|(at, target)| {
        let scaled = forecast.errors.of(at, 1.0);
        let own = forecast.errors.of(at, target.deviation);
        let values = [scaled.mse, scaled.mae, own.mse.sqrt(), own.mae].map(figure);
        context! { name => target.name.as_str(), values => values.to_vec() }
    });
    row.collect()
}

fn say_table(forecast: &ForecastReport) -> String {
    let all = forecast.targets.len();
    if all > TARGETS_LISTED {
        format!("The first {TARGETS_LISTED} of {all} targets")
    } else {
        count(all as u64, "target", "targets")
    }
}

/// The answers for one target beside the truth.
fn chart(forecast: &ForecastReport, stretch: &ForecastStretch) -> Result<(String, String)> {
    let name = &forecast.targets[stretch.target].name;
    let (start, truth) = &stretch.truth;
    let points = |start: usize, values: &mut dyn Iterator<Item = f64>| {
        let numbered = (start..).zip(values);
        numbered
            .map(|(at, value)| (at as f64, value))
            .collect::<Vec<_>>()
    };
    // Answers that do not follow each other are not joined.
    let mut predicted: Vec<(f64, f64)> = Vec::new();
    let mut bounds = [Vec::new(), Vec::new()];
    let single = stretch
        .predictions
        .iter()
        .all(|(_, values, _)| values.len() == 1);
    for (start, values, deviations) in &stretch.predictions {
        if !single {
            let gap = (*start as f64 - 0.5, f64::NAN);
            predicted.push(gap);
            bounds.iter_mut().for_each(|bound| bound.push(gap));
        }
        predicted.extend(points(*start, &mut values.iter().copied()));
        for (bound, side) in bounds.iter_mut().zip([-BAND, BAND]) {
            let edge = values
                .iter()
                .zip(deviations)
                .map(|(value, width)| value + side * width);
            bound.extend(points(*start, &mut { edge }));
        }
    }
    let mut series = vec![Series {
        label: "truth".into(),
        color: Color::Blue,
        mark: Mark::Thin,
        points: points(*start, &mut truth.iter().copied()),
    }];
    let has_band = stretch
        .predictions
        .iter()
        .any(|(_, _, deviations)| !deviations.is_empty());
    if has_band {
        for (bound, label) in bounds.into_iter().zip(["", "two deviations"]) {
            series.push(Series {
                label: label.into(),
                color: Color::Orange,
                mark: Mark::Thin,
                points: bound,
            });
        }
    }
    series.push(Series {
        label: "predicted".into(),
        color: Color::Vermillion,
        mark: Mark::Line,
        points: predicted,
    });
    let horizon = stretch
        .predictions
        .first()
        .map_or(0, |(_, values, _)| values.len());
    let said = format!(
        "{name}: each stretch of {} is predicted at once from the steps before it.",
        count(horizon as u64, "step", "steps")
    );
    let svg = Chart {
        title: format!("{name}, predicted and true"),
        description: said.clone(),
        size: WIDE,
        x: Axis {
            label: "step".into(),
            whole: true,
            ..Axis::default()
        },
        y: Axis {
            label: name.clone(),
            ..Axis::default()
        },
        right: None,
        series,
    }
    .to_svg()?;
    Ok((said, svg))
}

/// Probabilities beside what was there.
fn map(roll: &ForecastRoll) -> Result<(String, String)> {
    let mut cells = Vec::new();
    for (row, &target) in roll.targets.iter().enumerate() {
        for (column, (probabilities, truth)) in
            roll.probabilities.iter().zip(&roll.truth).enumerate()
        {
            let strength = probabilities[target];
            // What is neither there nor likely is left out of the file.
            if strength >= 0.005 || truth[target] {
                cells.push(Cell {
                    row,
                    column,
                    strength,
                    text: if truth[target] { "•" } else { "" }.into(),
                });
            }
        }
    }
    let said = "Each row is a number of a step, each column a step; the darker a square, the likelier it was held from the steps \
                before. Dots are what was there."
        .to_owned();
    // Every fifth name is enough to find the others.
    let sparse = |number: usize| match number % 5 {
        0 => number.to_string(),
        _ => String::new(),
    };
    let map = HeatMap {
        title: "Probabilities of the next step".into(),
        description: said.clone(),
        row_label: "number".into(),
        column_label: "step".into(),
        rows: roll
            .targets
            .iter()
            .map(|target| sparse(target + 1))
            .collect(),
        columns: (1..=roll.truth.len()).map(sparse).collect(),
        wide_cells: false,
        cells,
        key: [0.01, 0.1, 0.5, 1.0]
            .map(|share| (share, format!("{:.0}%", 100.0 * share)))
            .into(),
    };
    Ok((said, map.to_svg()?))
}
