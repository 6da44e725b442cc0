//! The experiments' pictures look alike.

use crate::run::plot::{Axis, Chart, Color, Mark, Scale, Series};

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 380);

/// The colours of curves that stand for cases in an order: those that differ on dark ground too.
const COLORS: [Color; 5] = [
    Color::Blue,
    Color::Vermillion,
    Color::Green,
    Color::Purple,
    Color::Orange,
];

/// A chart of the common size.
pub(super) fn chart(
    title: &str,
    description: &str,
    (x, y): (Axis, Axis),
    series: Vec<Series>,
) -> Chart {
    Chart {
        title: title.into(),
        description: description.into(),
        size: SIZE,
        x,
        y,
        right: None,
        series,
    }
}

/// An axis of numbers.
pub(super) fn linear(label: &str) -> Axis {
    Axis {
        label: label.into(),
        ..Axis::default()
    }
}

/// An axis of whole numbers.
pub(super) fn whole(label: &str) -> Axis {
    Axis {
        whole: true,
        ..linear(label)
    }
}

/// An axis on which equal distances are equal ratios.
pub(super) fn log(label: &str) -> Axis {
    Axis {
        scale: Scale::Log,
        ..linear(&format!("{label}, log scale"))
    }
}

/// A curve; the colour is the case's number.
pub(super) fn curve(
    label: impl Into<String>,
    case: usize,
    mark: Mark,
    points: impl IntoIterator<Item = (f64, f64)>,
) -> Series {
    Series {
        label: label.into(),
        color: COLORS[case % COLORS.len()],
        mark,
        points: points.into_iter().collect(),
    }
}

/// A curve's marks at some of its points only, from the first on: a curve may lie under them and still be seen.
pub(super) fn thinned(points: &[(f64, f64)], every: usize) -> Vec<(f64, f64)> {
    points.iter().copied().step_by(every.max(1)).collect()
}

/// Values over 0, 1, 2, …
pub(super) fn over_index(values: &[f64]) -> Vec<(f64, f64)> {
    let values = values.iter().enumerate();
    values.map(|(at, &value)| (at as f64, value)).collect()
}

/// The running mean of a curve over so many points, to be seen behind the noise of batches.
pub(super) fn smoothed(values: &[f64], window: usize) -> Vec<f64> {
    let window = window.max(1);
    (0..values.len())
        .map(|at| {
            let part = &values[(at + 1).saturating_sub(window)..=at];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect()
}
