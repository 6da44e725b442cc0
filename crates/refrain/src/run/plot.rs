//! Line charts and heat maps as SVG: drawn once, for the report, the page and files alike.
//!
//! A chart stands by itself (light colours, white ground). Every element also carries a class, so that a page which
//! includes [`STYLE`] shows the same chart in its own light or dark colours. The colours are those of Okabe and Ito,
//! which stay apart for colour-blind readers.

mod alignment;
mod heat;
mod inside;
mod png;
mod unrolled;

use std::borrow::Cow;
use std::fmt::Display;

use plotters::prelude::{DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

pub use self::alignment::Alignment;
pub use self::heat::{Cell, HeatMap};
pub(crate) use self::inside::color_of;
pub use self::inside::{gates_svg, gradients_chart, gradients_svg, spectrum_svg};
pub use self::png::png_of;
use crate::{Error, Result};

/// The style sheet of a page that shows charts: dark colours where the reader prefers them.
pub const STYLE: &str = include_str!("report/plot.css");

/// The backend places elements at whole numbers; it draws this many of them for one pixel of [`Chart::size`].
const SUBPIXELS: f64 = 4.0;
/// Sizes in pixels.
const FONT_SIZE: f64 = 13.0;
const LINE_HEIGHT: f64 = 20.0;
const TICK_LENGTH: f64 = 4.0;
/// Mean width of a letter of a proportional sans-serif, in parts of the font size, on the safe side.
const LETTER_WIDTH: f64 = 0.58;
/// Values beyond are drawn as gaps: differences of two must not overflow.
const LARGEST: f64 = 1e150;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances are equal differences.
    #[default]
    Linear,
    /// Equal distances are equal ratios; values of zero and less are gaps.
    Log,
}

/// One axis.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// Whether it begins at zero (linear only).
    pub from_zero: bool,
    /// Whether its values are parts of one, so that it shows all from 0 to 1 (linear only).
    pub parts: bool,
    /// Whether its values are whole numbers, so that ticks are.
    pub whole: bool,
}

/// A second scale at the right of the same values: `factor` times the left one (linear only).
#[derive(Clone, Debug)]
pub struct RightAxis {
    /// What it shows, with the unit.
    pub label: String,
    /// What a value of the left axis is multiplied by.
    pub factor: f64,
}

/// The colour of a series, of Okabe and Ito's palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// The first choice.
    Blue,
    /// The second.
    Vermillion,
    /// The third.
    Green,
    /// The fourth.
    Purple,
    /// The fifth.
    Orange,
    /// The sixth.
    Sky,
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line of two pixels.
    Line,
    /// A line of one pixel.
    Thin,
    /// A pale line of one pixel, for raw values behind smoothed ones.
    Faint,
    /// Dots joined by a line.
    Dots,
    /// Dots by themselves.
    Points,
    /// Rings, to point out.
    Rings,
}

/// One curve; a value that is not finite breaks it.
#[derive(Clone, Debug)]
pub struct Series {
    /// The words of the legend.
    pub label: String,
    /// The colour.
    pub color: Color,
    /// How it is drawn.
    pub mark: Mark,
    /// Points `(x, y)` by rising x.
    pub points: Vec<(f64, f64)>,
}

/// A chart of several series, drawn in their order.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What the chart shows, for those who cannot see it.
    pub title: String,
    /// What there is to see, in a sentence or two.
    pub description: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// A second vertical scale.
    pub right: Option<RightAxis>,
    /// The curves.
    pub series: Vec<Series>,
}

impl Chart {
    /// Draws the chart as one `<svg>` element, which is also a whole file.
    ///
    /// The legend stands above the plot. Without any value to draw the plot says so.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] if the backend refuses, which it has no cause to.
    ///
    /// # Examples
    ///
    /// ```
    /// use refrain::run::plot::{Axis, Chart, Color, Mark, Series};
    ///
    /// let chart = Chart {
    ///     title: "Loss".into(),
    ///     description: "It falls from 2 to 1.".into(),
    ///     size: (480, 280),
    ///     x: Axis { label: "step".into(), whole: true, ..Axis::default() },
    ///     y: Axis { label: "nats".into(), ..Axis::default() },
    ///     right: None,
    ///     series: vec![Series {
    ///         label: "training".into(),
    ///         color: Color::Blue,
    ///         mark: Mark::Line,
    ///         points: vec![(1.0, 2.0), (2.0, 1.0)],
    ///     }],
    /// };
    /// let svg = chart.to_svg()?;
    /// assert!(svg.starts_with("<svg role=\"img\""));
    /// assert_eq!(svg.matches("<polyline").count(), 2); // the curve, and its sample in the legend
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn to_svg(&self) -> Result<String> {
        svg(&self.title, &self.description, self.size, |canvas| {
            self.draw(canvas)
        })
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        canvas.rectangle((0.0, 0.0), (width, height), Ink::Ground)?;
        let drawable = |&(x, y): &(f64, f64)| self.x.can_show(x) && self.y.can_show(y);
        let all = || self.series.iter().flat_map(|series| &series.points);
        let x_range = self.x.range(all().filter(|p| drawable(p)).map(|p| p.0));
        let y_range = self.y.range(all().filter(|p| drawable(p)).map(|p| p.1));

        let legend = self.legend(width);
        let legend_rows = legend.last().map_or(0, |item| item.row + 1);
        let heads = f64::from(u8::from(!self.y.label.is_empty() || self.right.is_some()));
        let top = LINE_HEIGHT * (heads + legend_rows as f64) + 8.0;
        let bottom = height - 2.0 * LINE_HEIGHT - 4.0;
        let y_ticks = self.y.ticks(y_range, (bottom - top) / 44.0);
        let right_axis = self.right.as_ref().map(|right| {
            let axis = Axis::default();
            let range = (y_range.0 * right.factor, y_range.1 * right.factor);
            (right, axis.ticks(range, (bottom - top) / 44.0))
        });
        let left = 12.0 + TICK_LENGTH + widest(&y_ticks);
        let right = match &right_axis {
            Some((_, ticks)) => width - 12.0 - TICK_LENGTH - widest(ticks),
            None => width - 20.0,
        };
        let x_ticks = self.x.ticks(x_range, (right - left) / 88.0);
        let frame = Frame {
            left,
            right,
            top,
            bottom,
            at_x: &|x| left + (right - left) * self.x.place(x_range, x),
            at_y: &|y| bottom - (bottom - top) * self.y.place(y_range, y),
        };

        frame.axes(canvas, &x_ticks, &y_ticks)?;
        canvas.text(&self.y.label, (4.0, 14.0), HPos::Left, Ink::Text)?;
        let below = bottom + TICK_LENGTH + 1.55 * LINE_HEIGHT;
        canvas.text(
            &self.x.label,
            ((left + right) / 2.0, below),
            HPos::Center,
            Ink::Text,
        )?;
        if let Some((axis, ticks)) = &right_axis {
            canvas.text(&axis.label, (width - 4.0, 14.0), HPos::Right, Ink::Text)?;
            frame.right_axis(canvas, ticks, axis.factor)?;
        }
        for item in &legend {
            let y = LINE_HEIGHT * (heads + item.row as f64) + 14.0;
            let ends = [(item.x, y), (item.x + SWATCH, y)];
            let middle = [(item.x + SWATCH / 2.0, y)];
            let ring = matches!(item.series.mark, Mark::Rings | Mark::Points);
            canvas.series(item.series, if ring { &middle } else { &ends })?;
            let label = visible(&item.series.label);
            canvas.text(&label, (item.x + SWATCH + 9.0, y), HPos::Left, Ink::Text)?;
        }
        if !all().any(drawable) {
            let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
            canvas.text("nothing to draw", middle, HPos::Center, Ink::Muted)?;
        }
        for series in &self.series {
            for run in series.points.split(|point| !drawable(point)) {
                let run: Vec<_> = run
                    .iter()
                    .map(|&(x, y)| ((frame.at_x)(x), (frame.at_y)(y)))
                    .collect();
                if !run.is_empty() {
                    canvas.series(series, &run)?;
                }
            }
        }
        Ok(())
    }

    /// Where the words of the legend go, row by row.
    fn legend(&self, width: f64) -> Vec<LegendItem<'_>> {
        let (mut x, mut row) = (4.0, 0);
        let mut items = Vec::new();
        for series in self.series.iter().filter(|series| !series.label.is_empty()) {
            let needed = SWATCH + 9.0 + text_width(&series.label);
            if x > 4.0 && x + needed > width {
                (x, row) = (4.0, row + 1);
            }
            items.push(LegendItem { series, x, row });
            x += needed + 18.0;
        }
        items
    }
}

/// What `draw` draws, as one `<svg>` element of `size` pixels in which every colour has its class.
fn svg(
    title: &str,
    description: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&mut Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let scaled = (width * SUBPIXELS as u32, height * SUBPIXELS as u32);
    let mut svg = String::new();
    let mut canvas = Canvas {
        backend: SVGBackend::with_string(&mut svg, scaled),
    };
    draw(&mut canvas)?;
    drawn(canvas.backend.present())?;
    drop(canvas);
    // The backend's own first line knows neither names nor pixels of the reader.
    let body = svg.split_once('\n').map_or("", |(_, body)| body);
    let mut svg = format!(
        "<svg role=\"img\" class=\"plot\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n<title>{}</title>\n<desc>{}</desc>\n{body}",
        scaled.0,
        scaled.1,
        escape(title),
        escape(description),
    );
    for ink in Ink::ALL {
        let RGBColor(red, green, blue) = ink.light();
        for (attribute, class) in [("fill", "f"), ("stroke", "s")] {
            let plain = format!("{attribute}=\"#{red:02X}{green:02X}{blue:02X}\"");
            let named = format!("class=\"{class}-{}\" {plain}", ink.name());
            svg = svg.replace(&plain, &named);
        }
    }
    // Joints of a jagged curve would stick out far.
    Ok(svg.replace("<polyline ", "<polyline stroke-linejoin=\"round\" "))
}

/// Length of the piece of curve in a legend, in pixels.
const SWATCH: f64 = 22.0;

struct LegendItem<'a> {
    series: &'a Series,
    x: f64,
    row: usize,
}

impl Axis {
    fn can_show(&self, value: f64) -> bool {
        value.abs() < LARGEST && (self.scale == Scale::Linear || value > 0.0)
    }

    /// The span from end to end: all values with a little air, never empty.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let bounds = values.fold(None, |bounds, value| {
            let (low, high) = bounds.unwrap_or((value, value));
            Some((f64::min(low, value), f64::max(high, value)))
        });
        if self.scale == Scale::Log {
            let (low, high) = bounds.unwrap_or((1.0, 10.0));
            let air = if high / low < 1.1 { 1.5 } else { 1.15 };
            return (low / air, high * air);
        }
        let (mut low, mut high) = bounds.unwrap_or((0.0, 1.0));
        if self.from_zero || self.parts {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if self.parts {
            high = high.max(1.0);
        }
        if self.whole {
            return (low, if high > low { high } else { low + 1.0 });
        }
        let size = low.abs().max(high.abs());
        let air = if high - low > 1e-9 * size {
            0.05 * (high - low)
        } else if size > 0.0 {
            0.1 * size
        } else {
            0.5
        };
        let floor = if (self.from_zero || self.parts) && low == 0.0 {
            0.0
        } else {
            low - air
        };
        (floor, high + air)
    }

    /// Where in the range a value lies, from 0 to 1.
    fn place(&self, (low, high): (f64, f64), value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => {
                let low_log = libm::log10(low);
                (libm::log10(value) - low_log) / (libm::log10(high) - low_log)
            }
        }
    }

    /// About `count` round values in the range, with their words.
    fn ticks(&self, (low, high): (f64, f64), count: f64) -> Vec<Tick> {
        if self.scale == Scale::Log {
            let ticks = log_ticks((low, high), count);
            if ticks.len() >= 2 {
                return ticks;
            }
        }
        let exact = (high - low) / count.max(1.0);
        let magnitude = power_of_ten(libm::floor(libm::log10(exact)) as i32);
        let multiple = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|multiple| multiple * magnitude >= exact * 0.999)
            .unwrap_or(10.0);
        let mut step = multiple * magnitude;
        if self.whole {
            step = step.max(1.0);
        }
        let first = libm::ceil(low / step - 1e-9);
        let largest = low.abs().max(high.abs());
        (0..50)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|&value| value <= high + 1e-9 * step)
            .map(|value| Tick {
                value,
                label: tick_label(value, step, largest),
            })
            .collect()
    }
}

/// A logarithmic axis that goes beyond these has powers of ten as labels.
const POWERS_BELOW: f64 = 0.5e-4;
const POWERS_FROM: f64 = 0.5e9;

/// Powers of ten, or every second or third of them, or with values between where there are few.
fn log_ticks((low, high): (f64, f64), count: f64) -> Vec<Tick> {
    let first = libm::floor(libm::log10(low)) as i32;
    let last = libm::ceil(libm::log10(high)) as i32;
    let decades = libm::log10(high) - libm::log10(low);
    let every = libm::ceil(decades / count.max(1.0)).max(1.0) as usize;
    let multiples: &[f64] = match decades / count.max(1.0) {
        ..0.5 => &[1.0, 2.0, 5.0],
        0.5..0.7 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let values: Vec<f64> = (first..=last)
        .filter(|exponent| exponent.rem_euclid(every as i32) == 0)
        .flat_map(|exponent| multiples.iter().map(move |m| m * power_of_ten(exponent)))
        .filter(|value| (low..=high).contains(value))
        .collect();
    // One notation for all of an axis.
    let as_powers = values
        .iter()
        .any(|value| !(POWERS_BELOW..POWERS_FROM).contains(value));
    let tick = |value: f64| Tick {
        value,
        label: if as_powers {
            format!("{value:.0e}")
        } else {
            tick_label(value, value, value)
        },
    };
    values.into_iter().map(tick).collect()
}

struct Tick {
    value: f64,
    label: String,
}

/// The words of a tick where neighbours are `step` apart and the largest is `size`: `0.25`, `40k`, `1.5M`, `2e-5`.
fn tick_label(value: f64, step: f64, size: f64) -> String {
    let size = size.max(step);
    let (unit, suffix) = match size {
        1e9..1e13 if step >= 1e6 => (1e9, "G"),
        1e6..1e9 if step >= 1e3 => (1e6, "M"),
        1e4..1e6 if step >= 1e2 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if value == 0.0 || value.abs() < 1e-9 * step {
        return "0".into();
    }
    if !(1e-4..1e13).contains(&size) {
        // As many digits as tell the neighbours apart.
        let own = value.abs().max(step);
        let digits = libm::floor(libm::log10(own)) - libm::floor(libm::log10(step));
        let text = format!("{value:.*e}", digits.clamp(0.0, 9.0) as usize);
        return text.replace(".0e", "e");
    }
    let decimals = -libm::floor(libm::log10(step / unit) + 1e-9);
    let text = format!("{:.*}", decimals.clamp(0.0, 12.0) as usize, value / unit);
    if suffix.is_empty() || !text.contains('.') {
        return text + suffix;
    }
    format!(
        "{}{suffix}",
        text.trim_end_matches('0').trim_end_matches('.')
    )
}

fn power_of_ten(exponent: i32) -> f64 {
    libm::exp10(f64::from(exponent))
}

fn text_width(text: &str) -> f64 {
    LETTER_WIDTH * FONT_SIZE * text.chars().count() as f64
}

fn widest(ticks: &[Tick]) -> f64 {
    let widths = ticks.iter().map(|tick| text_width(&tick.label));
    widths.fold(2.0 * LETTER_WIDTH * FONT_SIZE, f64::max)
}

/// At most `most` points that keep every peak: of each stretch the lowest and the highest value, and both ends.
///
/// # Examples
///
/// ```
/// let wave: Vec<_> = (0..1000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
/// let few = refrain::run::plot::downsample(&wave, 100);
/// assert!(few.len() <= 100 && few[0] == wave[0] && few.last() == wave.last());
/// assert!(few.iter().any(|p| p.1 == 0.0) && few.iter().any(|p| p.1 == 6.0));
/// ```
#[must_use]
pub fn downsample(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most || points.len() < 4 {
        return points.to_vec();
    }
    let inner = &points[1..points.len() - 1];
    let stretches = (most.saturating_sub(2) / 2).max(1);
    let mut few = vec![points[0]];
    for index in 0..stretches {
        let from = index * inner.len() / stretches;
        let to = (index + 1) * inner.len() / stretches;
        let stretch = &inner[from..to];
        let finite = || stretch.iter().enumerate().filter(|(_, p)| p.1.is_finite());
        let lowest = finite().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let highest = finite().max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        match (lowest, highest) {
            (Some((low, _)), Some((high, _))) if low == high => few.push(stretch[low]),
            (Some((low, _)), Some((high, _))) => {
                few.extend([stretch[low.min(high)], stretch[low.max(high)]]);
            }
            // Nothing but a gap.
            _ => few.extend(stretch.first()),
        }
    }
    few.push(points[points.len() - 1]);
    few
}

/// The text with every character that would not be seen, or would reorder its neighbours, replaced by a visible sign.
///
/// Line breaks and tabs stay. `U+0000` to `U+001F` become Unicode's control pictures, others their number.
///
/// # Examples
///
/// ```
/// assert_eq!(refrain::run::plot::visible("a\tb\n\0\u{202e}"), "a\tb\n␀⟨U+202E⟩");
/// ```
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| match c {
        '\n' | '\t' => false,
        // Controls, the space without width, separators of lines, overrides of direction, and characters that are none.
        '\u{ad}' | '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            true
        }
        '\u{fdd0}'..='\u{fdef}' => true,
        _ => c.is_control() || u32::from(c) & 0xfffe == 0xfffe,
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\0'..='\u{1f}' if hidden(c) => {
                shown.extend(char::from_u32(0x2400 + u32::from(c)));
            }
            '\u{7f}' => shown.push('␡'),
            _ if hidden(c) => shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c))),
            _ => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn escape(text: &str) -> String {
    let text = visible(text);
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// All colours of a chart; each differs, since elements are told apart by them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ink {
    Ground,
    Grid,
    Muted,
    Text,
    /// A cell of a heat map, at full strength.
    Heat,
    /// Text on such a cell.
    OnHeat,
    Series(Color),
}

impl Ink {
    const ALL: [Self; 12] = [
        Self::Ground,
        Self::Grid,
        Self::Muted,
        Self::Text,
        Self::Heat,
        Self::OnHeat,
        Self::Series(Color::Blue),
        Self::Series(Color::Vermillion),
        Self::Series(Color::Green),
        Self::Series(Color::Purple),
        Self::Series(Color::Orange),
        Self::Series(Color::Sky),
    ];

    /// The class in [`STYLE`], after `f-` where it fills and `s-` where it strokes.
    fn name(self) -> &'static str {
        match self {
            Self::Ground => "ground",
            Self::Grid => "grid",
            Self::Muted => "muted",
            Self::Text => "text",
            Self::Heat => "heat",
            Self::OnHeat => "on-heat",
            Self::Series(Color::Blue) => "blue",
            Self::Series(Color::Vermillion) => "vermillion",
            Self::Series(Color::Green) => "green",
            Self::Series(Color::Purple) => "purple",
            Self::Series(Color::Orange) => "orange",
            Self::Series(Color::Sky) => "sky",
        }
    }

    fn light(self) -> RGBColor {
        match self {
            Self::Ground => RGBColor(0xff, 0xff, 0xff),
            Self::Grid => RGBColor(0xdd, 0xe1, 0xe6),
            Self::Muted => RGBColor(0x59, 0x63, 0x6e),
            Self::Text => RGBColor(0x1f, 0x23, 0x28),
            Self::Heat => RGBColor(0x00, 0x71, 0xb2),
            Self::OnHeat => RGBColor(0xfe, 0xfe, 0xfe),
            Self::Series(Color::Blue) => RGBColor(0x00, 0x72, 0xb2),
            Self::Series(Color::Vermillion) => RGBColor(0xd5, 0x5e, 0x00),
            Self::Series(Color::Green) => RGBColor(0x00, 0x9e, 0x73),
            Self::Series(Color::Purple) => RGBColor(0xcc, 0x79, 0xa7),
            Self::Series(Color::Orange) => RGBColor(0xe6, 0x9f, 0x00),
            Self::Series(Color::Sky) => RGBColor(0x56, 0xb4, 0xe9),
        }
    }
}

/// The backend's answer as ours; it writes into memory and has no cause to fail.
fn drawn<E: Display>(answer: Result<(), E>) -> Result<()> {
    answer.map_err(|error| Error::Unusable {
        problem: format!("a chart cannot be drawn: {error}"),
        hint: "this is a mistake in Refrain; please report it".into(),
    })
}

/// How a text is written.
#[derive(Clone, Copy)]
struct Writing {
    /// Size of the letters, in pixels.
    size: f64,
    /// The side of the text on which its point lies.
    side: HPos,
    /// From below upwards instead of from left to right.
    upwards: bool,
    ink: Ink,
}

/// The backend in pixels with fractions.
struct Canvas<'a> {
    backend: SVGBackend<'a>,
}

impl Canvas<'_> {
    fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink) -> Result<()> {
        let style = ink.light().filled();
        drawn(self.backend.draw_rect(whole(from), whole(to), &style, true))
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink) -> Result<()> {
        let style = stroke(ink, 1.0, 1.0);
        drawn(self.backend.draw_line(whole(from), whole(to), &style))
    }

    /// A rectangle through which the ground can be seen.
    fn pale_rectangle(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        ink: Ink,
        opacity: f64,
    ) -> Result<()> {
        let style = ink.light().mix(opacity).filled();
        drawn(self.backend.draw_rect(whole(from), whole(to), &style, true))
    }

    /// Text beside the point, centred on it vertically.
    fn text(&mut self, text: &str, at: (f64, f64), side: HPos, ink: Ink) -> Result<()> {
        let writing = Writing {
            size: FONT_SIZE,
            side,
            upwards: false,
            ink,
        };
        self.write(text, at, writing)
    }

    fn write(&mut self, text: &str, at: (f64, f64), writing: Writing) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        // The backend divides a font's size by 1.24.
        let size = writing.size * SUBPIXELS * 1.24;
        let color = writing.ink.light();
        let mut font = ("system-ui, sans-serif", size).into_font();
        if writing.upwards {
            font = font.transform(FontTransform::Rotate270);
        }
        let style = TextStyle::from(font)
            .color(&color)
            .pos(Pos::new(writing.side, VPos::Center));
        drawn(self.backend.draw_text(&visible(text), &style, whole(at)))
    }

    /// Draws a stretch of a series, or the sample of it in the legend.
    fn series(&mut self, series: &Series, points: &[(f64, f64)]) -> Result<()> {
        let ink = Ink::Series(series.color);
        let (width, opacity) = match series.mark {
            Mark::Line => (2.0, 1.0),
            Mark::Thin => (1.25, 1.0),
            Mark::Faint => (1.0, 0.35),
            Mark::Dots => (1.5, 1.0),
            Mark::Points => (1.0, 0.6),
            Mark::Rings => (2.0, 1.0),
        };
        let style = stroke(ink, width, opacity);
        if !matches!(series.mark, Mark::Rings | Mark::Points) && points.len() > 1 {
            let path = points.iter().map(|&point| whole(point));
            drawn(self.backend.draw_path(path, &style))?;
        }
        let (radius, fill) = match series.mark {
            Mark::Dots => (if points.len() > 60 { 2.0 } else { 3.0 }, true),
            Mark::Points => (2.5, true),
            Mark::Rings => (6.5, false),
            // A single step is no line.
            _ if points.len() == 1 => (3.0, true),
            _ => return Ok(()),
        };
        let radius = (radius * SUBPIXELS) as u32;
        for &point in points {
            drawn(self.backend.draw_circle(whole(point), radius, &style, fill))?;
        }
        Ok(())
    }
}

fn whole((x, y): (f64, f64)) -> (i32, i32) {
    (
        (x * SUBPIXELS).round() as i32,
        (y * SUBPIXELS).round() as i32,
    )
}

fn stroke(ink: Ink, width: f64, opacity: f64) -> ShapeStyle {
    ShapeStyle::from(ink.light().mix(opacity)).stroke_width((width * SUBPIXELS) as u32)
}

/// The plot within its margins, in pixels, and where values lie in it.
struct Frame<'a> {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    at_x: &'a dyn Fn(f64) -> f64,
    at_y: &'a dyn Fn(f64) -> f64,
}

impl Frame<'_> {
    fn axes(&self, canvas: &mut Canvas<'_>, x_ticks: &[Tick], y_ticks: &[Tick]) -> Result<()> {
        for tick in y_ticks {
            let y = (self.at_y)(tick.value);
            canvas.line((self.left, y), (self.right, y), Ink::Grid)?;
            let at = (self.left - TICK_LENGTH - 2.0, y);
            canvas.text(&tick.label, at, HPos::Right, Ink::Muted)?;
        }
        for tick in x_ticks {
            let x = (self.at_x)(tick.value);
            canvas.line((x, self.bottom), (x, self.bottom + TICK_LENGTH), Ink::Muted)?;
            let at = (x, self.bottom + TICK_LENGTH + 0.55 * LINE_HEIGHT);
            canvas.text(&tick.label, at, HPos::Center, Ink::Muted)?;
        }
        let (from, to) = ((self.left, self.bottom), (self.right, self.bottom));
        canvas.line(from, to, Ink::Muted)
    }

    fn right_axis(&self, canvas: &mut Canvas<'_>, ticks: &[Tick], factor: f64) -> Result<()> {
        for tick in ticks {
            let y = (self.at_y)(tick.value / factor);
            canvas.line((self.right, y), (self.right + TICK_LENGTH, y), Ink::Muted)?;
            let at = (self.right + TICK_LENGTH + 2.0, y);
            canvas.text(&tick.label, at, HPos::Left, Ink::Muted)?;
        }
        let (from, to) = ((self.right, self.top), (self.right, self.bottom));
        canvas.line(from, to, Ink::Grid)
    }
}

#[cfg(test)]
mod tests;
