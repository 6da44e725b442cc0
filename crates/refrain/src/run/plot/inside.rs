//! Pictures of the inside of a model: gradients by distance, spectra, gates, and what a prediction rests on.

use unicode_width::UnicodeWidthStr as _;

use super::heat::{Cell, HeatMap, shortened_to};
use super::{Axis, Chart, Color, Mark, Scale, Series};
use crate::error::Result;
use crate::inspect::gates::GateUse;
use crate::inspect::gradients::LayerGradients;
use crate::inspect::spectrum::GateSpectrum;
use crate::run::look::{Gradients, PositionGradients};

/// Sizes in pixels.
const WIDE: (u32, u32) = (800, 400);
const PANEL: (u32, u32) = (400, 320);
const SQUARE: (u32, u32) = (320, 340);
/// Between panels.
const GAP: u32 = 12;
/// Letters in a line of a text that is shaded; more would not be told apart.
const LINE: usize = 32;
/// Letters of a word in it; a longer one is shortened.
const MOST_LETTERS: usize = 14;
/// The most tokens that are shaded.
const MOST_TOKENS: usize = 512;

/// The colours in their order.
const COLORS: [Color; 6] = [
    Color::Blue,
    Color::Vermillion,
    Color::Green,
    Color::Purple,
    Color::Orange,
    Color::Sky,
];

/// The colour of a series by its place among others.
pub(crate) fn color_of(place: usize) -> Color {
    COLORS[place % COLORS.len()]
}

/// The same, and one of two marks: those that share a colour differ in it.
fn look_of(place: usize, marks: [Mark; 2]) -> (Color, Mark) {
    (color_of(place), marks[place / COLORS.len() % 2])
}

/// The width and height that a drawing says it has.
fn size_of(svg: &str) -> (u32, u32) {
    let of = |name: &str| {
        let start = svg.find(name).map_or(0, |at| at + name.len());
        let digits = svg[start..].split('"').next().unwrap_or_default();
        digits.parse().unwrap_or(0)
    };
    (of(" width=\""), of(" height=\""))
}

/// Drawings side by side, `columns` in a row, as one.
fn beside(title: &str, drawings: &[String], columns: usize) -> String {
    if let [one] = drawings {
        return one.clone();
    }
    let mut inner = String::new();
    let (mut width, mut top) = (0, 0);
    for row in drawings.chunks(columns.max(1)) {
        let (mut left, mut height) = (0, 0);
        for drawing in row {
            let size = size_of(drawing);
            let place = format!("<svg x=\"{left}\" y=\"{top}\" width=\"{}\"", size.0);
            let own = format!("<svg role=\"img\" class=\"plot\" width=\"{}\"", size.0);
            inner += &drawing.replacen(&own, &place, 1);
            left += size.0 + GAP;
            height = height.max(size.1);
        }
        width = width.max(left - GAP);
        top += height + GAP;
    }
    let height = top.saturating_sub(GAP);
    format!(
        "<svg role=\"img\" class=\"plot\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n<title>{title}</title>\n{inner}</svg>\n"
    )
}

/// The chart of gradients against distance: medians, pale the quarters beside them.
#[must_use]
pub fn gradients_chart(layers: &[LayerGradients], size: (u32, u32)) -> Chart {
    let mut series = Vec::new();
    let mut said = Vec::new();
    for (place, layer) in layers.iter().enumerate() {
        let (color, mark) = look_of(place, [Mark::Line, Mark::Thin]);
        let name = format!("{} {}", layer.name, layer.state.letter());
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            let distances = layer.distance.iter().map(|&distance| distance as f64);
            distances.zip(values.iter().copied()).collect()
        };
        for quarter in [&layer.q25, &layer.q75] {
            series.push(Series {
                label: String::new(),
                color,
                mark: Mark::Faint,
                points: points(quarter),
            });
        }
        series.push(Series {
            label: name.clone(),
            color,
            mark,
            points: points(&layer.median),
        });
        said.push(match layer.half_life {
            Some(half_life) => {
                format!("That of {name} is half of its greatest {half_life:.1} steps on.")
            }
            None => format!("That of {name} does not fall to half of its greatest."),
        });
    }
    Chart {
        title: "Gradient of one step's loss by distance".into(),
        description: format!("Medians; pale the quarters beside them. {}", said.join(" ")),
        size,
        x: Axis {
            label: "distance, steps".into(),
            from_zero: true,
            whole: true,
            ..Axis::default()
        },
        y: Axis {
            label: "gradient norm: median, pale the quartiles; log scale".into(),
            scale: Scale::Log,
            ..Axis::default()
        },
        right: None,
        series,
    }
}

/// The picture of `inspect gradients`: the chart, and below it what single predictions rest on.
///
/// # Errors
/// [`Error::Unusable`](crate::Error::Unusable) if it cannot be drawn.
pub fn gradients_svg(found: &Gradients) -> Result<String> {
    let mut drawings = vec![gradients_chart(&found.layers, WIDE).to_svg()?];
    for position in &found.positions {
        drawings.push(position_map(position).to_svg()?);
    }
    Ok(beside("Gradients of single losses", &drawings, 1))
}

/// A text in lines, each token the darker the more the prediction after it rests on it.
fn position_map(of: &PositionGradients) -> HeatMap {
    let count = of.tokens.len().min(MOST_TOKENS);
    let greatest = of.inputs.iter().copied().fold(0.0, f64::max);
    let first = of.position - count;
    let text = |distance: usize| shortened_to(&sign(&of.tokens[distance]), MOST_LETTERS);
    let widest = (0..count).map(|distance| text(distance).width()).max();
    // Whole words take the room of several letters.
    let line = (2 * LINE / widest.unwrap_or(1).max(2)).max(MOST_LETTERS / 2);
    let cell = |at: usize| {
        // From the earliest token on.
        let distance = count - 1 - at;
        let strength = match of.inputs.get(distance) {
            Some(norm) if greatest > 0.0 => norm / greatest,
            _ => 0.0,
        };
        Cell {
            row: at / line,
            column: at % line,
            strength,
            text: text(distance),
        }
    };
    let rows = (0..count.div_ceil(line)).map(|row| (first + row * line).to_string());
    let before = if count < of.tokens.len() {
        format!("the last {count} tokens before")
    } else {
        "before".into()
    };
    HeatMap {
        title: format!("What the prediction at {} rests on", of.position),
        description: format!(
            "The {count} tokens before {} at {}, whose loss is {:.3} nats; the darker, the greater is the gradient.",
            sign(&of.token),
            of.position,
            of.loss_nats
        ),
        row_label: "position".into(),
        column_label: format!(
            "{before} {} at {}: {:.3} nats",
            sign(&of.token),
            of.position,
            of.loss_nats
        ),
        rows: rows.collect(),
        columns: vec![String::new(); count.min(line)],
        wide_cells: true,
        cells: (0..count).map(cell).collect(),
        key: [0.04, 0.25, 1.0]
            .map(|part| (part, format!("{:.0} % of the greatest", 100.0 * part)))
            .to_vec(),
    }
}

/// A token for a small cell: white space is shown.
fn sign(token: &str) -> String {
    match token {
        " " => "\u{2423}".into(),
        // A vocabulary shows a line break by its escape.
        "\n" | "\\n" => "\u{21b5}".into(),
        "\t" => "\u{21e5}".into(),
        token => token.replace(['\n', '\t'], " "),
    }
}

/// The names of the layers, in their order.
fn layers<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut layers = Vec::new();
    for name in names {
        if !layers.contains(&name) {
            layers.push(name);
        }
    }
    layers
}

/// Drawings of panels as one; a single one is as wide as two.
fn panels(title: &str, charts: Vec<Chart>, columns: usize) -> Result<String> {
    let alone = charts.len() == 1;
    let drawings = charts.into_iter().map(|mut chart| {
        if alone {
            chart.size = (2 * chart.size.0, chart.size.1);
        }
        chart.to_svg()
    });
    Ok(beside(
        title,
        &drawings.collect::<Result<Vec<_>>>()?,
        columns,
    ))
}

/// The picture of `inspect spectrum`: for each layer the singular values of every gate's recurrent matrix by rank.
///
/// # Errors
/// [`Error::Unusable`](crate::Error::Unusable) if it cannot be drawn.
pub fn spectrum_svg(found: &[GateSpectrum]) -> Result<String> {
    let chart = |layer: &str| {
        let gates = found.iter().filter(|gate| gate.name == layer);
        let series = gates.enumerate().map(|(place, gate)| Series {
            label: format!("{} (radius {:.2})", gate.gate, gate.spectral_radius),
            color: color_of(place),
            mark: Mark::Line,
            points: (1..)
                .map(f64::from)
                .zip(gate.singular_values.iter().copied())
                .collect(),
        });
        Chart {
            title: format!("Singular values of {layer}"),
            description: "Those of each gate's recurrent matrix, greatest first.".into(),
            size: PANEL,
            x: Axis {
                label: "rank".into(),
                whole: true,
                ..Axis::default()
            },
            y: Axis {
                label: format!("{layer}: singular value, log scale"),
                scale: Scale::Log,
                ..Axis::default()
            },
            right: None,
            series: series.collect(),
        }
    };
    let names = layers(found.iter().map(|gate| gate.name.as_str()));
    let charts = names.into_iter().map(chart).collect();
    panels("Singular values of recurrent matrices", charts, 2)
}

/// The picture of `inspect gates`: for each gate, a dot for every unit, how often it is right-saturated against how often it
/// is left-saturated.
///
/// # Errors
/// [`Error::Unusable`](crate::Error::Unusable) if it cannot be drawn.
///
/// # References
/// Karpathy, Johnson and Li, "Visualizing and understanding recurrent networks", 2015, figure 2.
pub fn gates_svg(found: &[GateUse]) -> Result<String> {
    let chart = |gate: &str| {
        let of = found.iter().filter(|of| of.gate == gate);
        let series = of.enumerate().map(|(place, of)| {
            let left = of.left_saturated.iter().copied();
            let mut points: Vec<_> = left.zip(of.right_saturated.iter().copied()).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series {
                label: of.name.clone(),
                color: color_of(place),
                mark: Mark::Points,
                points,
            }
        });
        let axis = |label: String| Axis {
            label,
            parts: true,
            ..Axis::default()
        };
        Chart {
            title: format!("Saturation of gate {gate}"),
            description: "A dot for each unit; near both axes it is rarely saturated.".into(),
            size: SQUARE,
            x: axis("left-saturated, part of the steps".into()),
            y: axis(format!("{gate}: right-saturated, part of the steps")),
            right: None,
            series: series.collect(),
        }
    };
    let names = layers(found.iter().map(|of| of.gate.as_str()));
    let charts = names.into_iter().map(chart).collect();
    panels("Saturation of gates", charts, 2)
}
