//! Charts in letters, for a terminal: they need no colours to be told apart.

use refrain::run::plot::{Axis, Chart, Color, Mark, Scale, Series};

/// Lines of the plot itself.
const HEIGHT: usize = 16;
/// Columns of the values at the left.
const MARGIN: usize = 10;

/// Where the axes of a chart end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At the least and the greatest value.
    Values,
    /// At 0 and 1, both of them.
    Unit,
}

/// A chart that is only drawn in letters.
pub(crate) fn chart(
    title: String,
    (x, y): (Axis, Axis),
    series: impl Iterator<Item = (String, Vec<(f64, f64)>)>,
) -> Chart {
    let series = series.map(|(label, points)| Series {
        label,
        color: Color::Blue,
        mark: Mark::Line,
        points,
    });
    Chart {
        title,
        description: String::new(),
        size: (1, 1),
        x,
        y,
        right: None,
        series: series.collect(),
    }
}

/// The signs of series: their names where those are letters, which differ; else capitals, since small letters name states and
/// gates.
fn signs(names: &[&str]) -> Vec<char> {
    let letters: Vec<char> = names.iter().filter_map(|name| single(name)).collect();
    let mut known = letters.clone();
    known.sort_unstable();
    known.dedup();
    if known.len() == names.len() {
        return letters;
    }
    let mut capitals = ('A'..='Z').chain('a'..='z').cycle();
    names.iter().filter_map(|_| capitals.next()).collect()
}

fn single(name: &str) -> Option<char> {
    let mut letters = name.chars();
    let first = letters.next().filter(char::is_ascii_alphabetic)?;
    letters.next().is_none().then_some(first)
}

/// Where series meet, none hides the others.
const SEVERAL: char = '*';

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
    if (axis.from_zero || axis.parts) && axis.scale == Scale::Linear {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if axis.parts {
        high = high.max(1.0);
    }
    // What rounding tells apart is no difference to look at.
    let least = match axis.scale {
        Scale::Linear => 1e-9 * (1.0 + low.abs()),
        Scale::Log => 0.04,
    };
    if high - low < least {
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

/// The chart in so many columns: a letter for each curve that has a name, a legend, both axes with what they show.
pub(crate) fn drawn(chart: &Chart, ends: Ends, width: usize) -> String {
    let columns = width.saturating_sub(MARGIN + 2).max(10);
    let point = |&(x, y): &(f64, f64)| Some((place(&chart.x, x)?, place(&chart.y, y)?));
    let named = || {
        chart
            .series
            .iter()
            .filter(|series| !series.label.is_empty())
    };
    let names: Vec<&str> = named().map(|series| series.label.as_str()).collect();
    let signs = signs(&names);
    let all = || named().flat_map(|series| series.points.iter().filter_map(point));
    let (x_range, y_range) = match ends {
        Ends::Values => (
            range(&chart.x, all().map(|point| point.0)),
            range(&chart.y, all().map(|point| point.1)),
        ),
        Ends::Unit => (Some((0.0, 1.0)), Some((0.0, 1.0))),
    };
    let mut text = format!("{}\n", chart.title);
    let (Some((x_low, x_high)), Some((y_low, y_high))) = (x_range, y_range) else {
        return text + "  nothing to draw\n";
    };
    let mut grid = vec![vec![' '; columns]; HEIGHT];
    for (at, series) in named().enumerate() {
        for (x, y) in series.points.iter().filter_map(point) {
            let share = |value: f64, low: f64, high: f64, most: usize| {
                let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
                (share * most as f64).round() as usize
            };
            let column = share(x, x_low, x_high, columns - 1);
            let row = share(y, y_low, y_high, HEIGHT - 1);
            let cell = &mut grid[HEIGHT - 1 - row][column];
            *cell = match *cell {
                ' ' => signs[at],
                other if other == signs[at] => other,
                _ => SEVERAL,
            };
        }
    }
    let names = signs.iter().zip(&names);
    let mut legend: Vec<_> = names
        .map(|(sign, name)| match single(name) {
            Some(letter) if letter == *sign => format!("{sign}"),
            _ => format!("{sign} {name}"),
        })
        .collect();
    if grid.iter().flatten().any(|&cell| cell == SEVERAL) {
        legend.push(format!("{SEVERAL} several"));
    }
    for line in wrapped_items(&legend, width - 2) {
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

/// Things in lines of at most so many columns, three spaces apart.
fn wrapped_items(items: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + item.chars().count() <= width => {
                line.push_str("   ");
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = drawn(&chart, Ends::Values, 80);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let columns: Vec<_> = text
            .lines()
            .filter(|line| line.contains('|'))
            .filter_map(|line| line.rfind('a'))
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
        assert!(drawn(&empty, Ends::Values, 80).contains("nothing to draw"));
    }

    #[test]
    fn curves_that_meet_are_told_apart_and_those_without_a_name_left_out() {
        let axis = |label: &str| Axis {
            label: label.into(),
            ..Axis::default()
        };
        let log = Axis {
            scale: Scale::Log,
            ..axis("gradient norm, log scale")
        };
        let fall = (0..20).map(|k| (f64::from(k), libm::exp10(-f64::from(k) / 4.0)));
        let series = [
            ("rnn_l0 h".to_owned(), fall.collect()),
            (
                "rnn_l0 c".to_owned(),
                vec![(0.0, 1.0), (10.0, 0.5), (19.0, 0.0)],
            ),
            (String::new(), vec![(5.0, 1e9)]),
        ];
        let axes = (axis("distance, steps"), log);
        let chart = chart("Gradients".into(), axes, series.into_iter());
        insta::assert_snapshot!(drawn(&chart, Ends::Values, 80));
    }

    #[test]
    fn a_unit_square_ends_at_0_and_1() {
        let points = vec![(0.25, 0.5), (0.5, f64::NAN)];
        let axes = (Axis::default(), Axis::default());
        let chart = chart("Gates".into(), axes, std::iter::once(("i".into(), points)));
        let text = drawn(&chart, Ends::Unit, 80);
        let ends: Vec<_> = text
            .lines()
            .rev()
            .take(1)
            .flat_map(str::split_whitespace)
            .collect();
        assert_eq!(ends, ["0", "1"], "{text}");
    }
}
