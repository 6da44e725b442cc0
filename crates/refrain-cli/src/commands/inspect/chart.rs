//! Charts of letters for a terminal, which need no colours to be told apart.

use std::fmt;

/// Columns and rows of the plot itself: with the numbers at its left it is less than 80 wide.
const COLUMNS: usize = 64;
const ROWS: usize = 18;

/// A chart: each series is a letter.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    /// What the vertical axis shows.
    pub(super) y: String,
    /// What the horizontal axis shows.
    pub(super) x: String,
    /// Whether equal heights are equal ratios; values of zero and less are left out.
    pub(super) log: bool,
    /// The ends of both axes, where they are not those of the values.
    pub(super) unit_square: bool,
    /// Names and points.
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Letters {
    fn height(&self, value: f64) -> Option<f64> {
        let height = if self.log { libm::log10(value) } else { value };
        height.is_finite().then_some(height)
    }

    /// The points that can be shown.
    fn points(&self) -> impl Iterator<Item = (usize, f64, f64)> + '_ {
        let series = self.series.iter().enumerate();
        series.flat_map(move |(at, (_, points))| {
            let shown = points.iter().filter(|(x, _)| x.is_finite());
            shown.filter_map(move |&(x, y)| Some((at, x, self.height(y)?)))
        })
    }

    fn ends(&self, value: impl Fn(&(usize, f64, f64)) -> f64) -> (f64, f64) {
        if self.unit_square {
            return (0.0, 1.0);
        }
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = self.points().fold(ends, |(low, high), point| {
            (low.min(value(&point)), high.max(value(&point)))
        });
        match low < high {
            true => (low, high),
            false if low.is_finite() => (low - 0.5, low + 0.5),
            false => (0.0, 1.0),
        }
    }

    fn label(&self, height: f64) -> String {
        if self.log {
            format!("{:.1e}", libm::exp10(height))
        } else {
            format!("{height:.2}")
        }
    }
}

/// The letter of a series.
fn letter(at: usize) -> char {
    let letters = ('a'..='z').chain('A'..='Z');
    letters.into_iter().nth(at % 52).unwrap_or('*')
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = self.ends(|point| point.1);
        let (low, high) = self.ends(|point| point.2);
        let mut cells = vec![[' '; COLUMNS]; ROWS];
        let place = |value: f64, (from, to): (f64, f64), count: usize| {
            let part = ((value - from) / (to - from)).clamp(0.0, 1.0);
            (part * (count - 1) as f64).round() as usize
        };
        for (at, x, y) in self.points() {
            let row = ROWS - 1 - place(y, (low, high), ROWS);
            let cell = &mut cells[row][place(x, (left, right), COLUMNS)];
            // Where series meet, neither hides the other.
            *cell = match *cell {
                ' ' => letter(at),
                other if other == letter(at) => other,
                _ => '*',
            };
        }
        writeln!(f, "{}", self.y)?;
        for (row, cells) in cells.iter().enumerate() {
            let height = high - (high - low) * row as f64 / (ROWS - 1) as f64;
            let label = if row % 4 == 0 || row == ROWS - 1 {
                self.label(height)
            } else {
                String::new()
            };
            let line: String = cells.iter().collect();
            writeln!(f, "{label:>9} |{}", line.trim_end())?;
        }
        writeln!(f, "{:>9} +{}", "", "-".repeat(COLUMNS))?;
        let (left, right) = (number(left), number(right));
        let gap = COLUMNS.saturating_sub(left.len() + right.len() + self.x.chars().count());
        let before = " ".repeat(gap / 2);
        let after = " ".repeat(gap - gap / 2);
        writeln!(f, "{:>11}{left}{before}{}{after}{right}", "", self.x)?;
        let names: Vec<String> = self
            .series
            .iter()
            .enumerate()
            .map(|(at, (name, _))| format!("{} {name}", letter(at)))
            .collect();
        let mut line = String::new();
        for name in names.iter().map(String::as_str).chain(["* several"]) {
            if !line.is_empty() && line.chars().count() + name.chars().count() + 3 > 78 {
                writeln!(f, "{}", line.trim_end())?;
                line.clear();
            }
            line += name;
            line += "   ";
        }
        writeln!(f, "{}", line.trim_end())
    }
}

fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e9 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_letters() {
        let fall = (0..20).map(|k| (f64::from(k), libm::exp10(-f64::from(k) / 4.0)));
        let chart = Letters {
            y: "norm, log scale".into(),
            x: "distance".into(),
            log: true,
            series: vec![
                ("rnn_l0 h".into(), fall.collect()),
                (
                    "rnn_l0 c".into(),
                    vec![(0.0, 1.0), (10.0, 0.5), (19.0, 0.0)],
                ),
            ],
            ..Letters::default()
        };
        let text = chart.to_string();
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn nothing_to_draw_is_drawn_too() {
        let chart = Letters {
            log: true,
            series: vec![("x".into(), vec![(1.0, 0.0), (2.0, f64::NAN)])],
            ..Letters::default()
        };
        assert!(chart.to_string().contains("a x"));
    }
}
