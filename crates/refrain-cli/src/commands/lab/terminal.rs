//! Charts in letters, for a terminal.

use refrain::run::plot::{Axis, Chart, Scale};

/// Marks of series, in their order.
const MARKS: [char; 8] = ['o', '+', 'x', '*', '#', '@', '%', '='];
/// Lines of the plot itself.
const HEIGHT: usize = 16;
/// Columns of the values at the left.
const MARGIN: usize = 10;

/// Where a value stands on an axis, if it can be shown.
fn place(axis: &Axis, value: f64) -> Option<f64> {
    match axis.scale {
        Scale::Linear => Some(value),
        Scale::Log if value > 0.0 => Some(libm::log10(value)),
        Scale::Log => None,
    }
    .filter(|place| place.is_finite())
}

/// The ends of an axis, a little apart.
fn range(axis: &Axis, places: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let ends = places.fold(None, |ends: Option<(f64, f64)>, place| {
        let (low, high) = ends.unwrap_or((place, place));
        Some((low.min(place), high.max(place)))
    });
    let (mut low, mut high) = ends?;
    if axis.from_zero && axis.scale == Scale::Linear {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if high - low < 1e-12 * (1.0 + low.abs()) {
        (low, high) = (low - 0.5, high + 0.5);
    }
    Some((low, high))
}

fn value(axis: &Axis, place: f64) -> String {
    let value = match axis.scale {
        Scale::Linear => place,
        Scale::Log => libm::exp10(place),
    };
    let size = value.abs();
    let text = if axis.whole {
        format!("{value:.0}")
    } else if size == 0.0 || (1e-3..1e5).contains(&size) {
        let digits = if size >= 100.0 { 0 } else { 3 };
        format!("{value:.digits$}")
    } else {
        format!("{value:.1e}")
    };
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// The chart in so many columns: marks for the curves, a legend, both axes with what they show.
pub(super) fn drawn(chart: &Chart, width: usize) -> String {
    let columns = width.saturating_sub(MARGIN + 2).max(10);
    let point = |&(x, y): &(f64, f64)| Some((place(&chart.x, x)?, place(&chart.y, y)?));
    let all = || {
        chart
            .series
            .iter()
            .flat_map(|series| series.points.iter().filter_map(point))
    };
    let x_range = range(&chart.x, all().map(|point| point.0));
    let y_range = range(&chart.y, all().map(|point| point.1));
    let mut text = format!("{}\n", chart.title);
    let (Some((x_low, x_high)), Some((y_low, y_high))) = (x_range, y_range) else {
        return text + "  nothing to draw\n";
    };
    let mut grid = vec![vec![' '; columns]; HEIGHT];
    for (series, mark) in chart.series.iter().zip(MARKS.into_iter().cycle()) {
        for (x, y) in series.points.iter().filter_map(point) {
            let share = |value: f64, low: f64, high: f64, most: usize| {
                ((value - low) / (high - low) * most as f64).round() as usize
            };
            let column = share(x, x_low, x_high, columns - 1).min(columns - 1);
            let row = share(y, y_low, y_high, HEIGHT - 1).min(HEIGHT - 1);
            grid[HEIGHT - 1 - row][column] = mark;
        }
    }
    let mut legend = Vec::new();
    for (series, mark) in chart.series.iter().zip(MARKS.into_iter().cycle()) {
        legend.push(format!("{mark} {}", series.label));
    }
    for line in super::wrapped_items(&legend, width - 2) {
        text += &format!("  {line}\n");
    }
    text += &format!("  {}\n", chart.y.label);
    for (row, line) in grid.iter().enumerate() {
        let is_named = row == 0 || row == HEIGHT - 1 || row == HEIGHT / 2;
        let place = y_high - (y_high - y_low) * row as f64 / (HEIGHT - 1) as f64;
        let name = if is_named {
            value(&chart.y, place)
        } else {
            String::new()
        };
        let line: String = line.iter().collect();
        text += &format!("{name:>MARGIN$} |{}\n", line.trim_end());
    }
    text += &format!("{:>MARGIN$} +{}\n", "", "-".repeat(columns));
    let (low, high) = (value(&chart.x, x_low), value(&chart.x, x_high));
    let middle = columns.saturating_sub(low.len() + high.len());
    let label: String = chart
        .x
        .label
        .chars()
        .take(middle.saturating_sub(2))
        .collect();
    text += &format!("{:>MARGIN$}  {low}{label:^middle$}{high}\n", "");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use refrain::run::plot::{Color, Mark, Series};

    #[test]
    fn a_rising_line_rises_and_no_line_is_too_wide() {
        let axis = |label: &str, scale| Axis {
            label: label.into(),
            scale,
            ..Axis::default()
        };
        let chart = Chart {
            title: "Rise".into(),
            description: String::new(),
            size: (1, 1),
            x: axis("steps", Scale::Linear),
            y: axis("norm", Scale::Log),
            right: None,
            series: vec![Series {
                label: "a".into(),
                color: Color::Blue,
                mark: Mark::Line,
                points: (0..20)
                    .map(|k| (f64::from(k), libm::exp10(f64::from(k))))
                    .collect(),
            }],
        };
        let text = drawn(&chart, 80);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let columns: Vec<_> = text
            .lines()
            .filter(|line| line.contains('|'))
            .filter_map(|line| line.find('o'))
            .collect();
        assert!(
            columns.len() > 10 && columns.windows(2).all(|pair| pair[1] < pair[0]),
            "{text}"
        );
        assert!(text.contains("1.0e19") && text.contains("norm") && text.contains("steps"));
        let empty = Chart {
            series: Vec::new(),
            ..chart
        };
        assert!(drawn(&empty, 80).contains("nothing to draw"));
    }
}
