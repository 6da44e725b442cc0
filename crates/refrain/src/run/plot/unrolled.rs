//! A model unrolled over time: boxes for layers at steps, arrows for what feeds what.

use plotters::prelude::DrawingBackend as _;
use plotters::style::Color as _;
use plotters::style::text_anchor::HPos;

use super::{
    Canvas, Color, FONT_SIZE, Ink, LETTER_WIDTH, LINE_HEIGHT, Writing, drawn, stroke, svg, whole,
};
use crate::Result;
use crate::run::graph::{Arrow, ArrowKind, BoxKind, Graph, GraphBox, Part, Weight, product};

/// Sizes in pixels.
const BOX_WIDTH: f64 = 74.0;
const BOX_HEIGHT: f64 = 40.0;
const PITCH: f64 = BOX_WIDTH + 30.0;
const DOTS_WIDTH: f64 = 22.0;
/// Between parts where nothing stands.
const CHANNEL: f64 = 34.0;
/// Between rows, without words.
const GAP: f64 = 32.0;
const LABEL_HEIGHT: f64 = 14.0;
/// From a box down to the line that gathers for it, and to one that comes from another part.
const GATHER: f64 = 14.0;
const CROSS: f64 = 25.0;
const SMALL_FONT: f64 = 11.0;
const MARGIN: f64 = 8.0;
const SAMPLE: f64 = 26.0;
/// Columns of a part: three steps and dots.
const COLUMNS: usize = 4;

type Point = (f64, f64);

/// Where things are.
struct Layout<'a> {
    graph: &'a Graph,
    /// The left edge of each column.
    columns: Vec<f64>,
    /// The upper edge of each row.
    rows: Vec<f64>,
    /// Where the words of each part begin.
    words: Vec<(Part, f64)>,
    width: f64,
    height: f64,
}

fn width_of(text: &str, size: f64) -> f64 {
    LETTER_WIDTH * size * text.chars().count() as f64
}

fn sizes_text(sizes: &[usize]) -> String {
    product(sizes).replace('x', "×")
}

fn label_text(weight: &Weight) -> String {
    let label = weight.label();
    match label.rsplit_once(' ') {
        Some((name, _)) => format!("{name} {}", sizes_text(&weight.shape)),
        None => label,
    }
}

fn ink_of(kind: BoxKind) -> Ink {
    match kind {
        BoxKind::Input | BoxKind::Output | BoxKind::Dots => Ink::Muted,
        BoxKind::Embedding | BoxKind::Convolution => Ink::Series(Color::Sky),
        BoxKind::Recurrent => Ink::Series(Color::Blue),
        BoxKind::Summary => Ink::Series(Color::Green),
        BoxKind::Bridge => Ink::Series(Color::Purple),
        BoxKind::Attention => Ink::Series(Color::Vermillion),
        BoxKind::Linear => Ink::Series(Color::Orange),
    }
}

impl Graph {
    /// Draws the graph as one `<svg>` element, which is also a whole file.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) if the backend refuses, which it has no cause to.
    pub fn to_svg(&self) -> Result<String> {
        let layout = Layout::new(self);
        let size = (layout.width.ceil() as u32, layout.height.ceil() as u32);
        let title = "The model, unrolled";
        svg(title, &self.description(), size, |canvas| {
            canvas.rectangle((0.0, 0.0), (layout.width, layout.height), Ink::Ground)?;
            layout.draw(canvas)
        })
    }

    /// What there is to see, in words.
    pub(crate) fn description(&self) -> String {
        let mut said = format!("{}.", self.shape.name());
        for part in self.parts() {
            let mut rows: Vec<&GraphBox> = Vec::new();
            for of in self.boxes.iter().filter(|of| of.part == part) {
                if of.kind != BoxKind::Dots && rows.iter().all(|row| row.name != of.name) {
                    rows.push(of);
                }
            }
            rows.sort_by_key(|of| of.row);
            let rows: Vec<String> = rows
                .iter()
                .map(|of| format!("{} {}", of.name, sizes_text(&of.sizes)))
                .collect();
            let head = match part {
                Part::Main => "From below".into(),
                part => format!("The {}, from below", part.name()),
            };
            said.push_str(&format!(" {head}: {}.", rows.join("; ")));
        }
        said
    }
}

impl<'a> Layout<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut layout = Self {
            graph,
            columns: Vec::new(),
            rows: Vec::new(),
            words: Vec::new(),
            width: 0.0,
            height: 0.0,
        };
        layout.place_columns();
        layout.place_rows();
        layout
    }

    fn place_columns(&mut self) {
        let graph = self.graph;
        let last = graph.boxes.iter().map(|of| of.column).max().unwrap_or(0);
        let mut x = MARGIN;
        for column in 0..=last {
            for part in graph.parts() {
                if graph.first_column(part) == column {
                    self.words.push((part, x));
                    x += self.words_width(part) + 12.0;
                }
            }
            let here = || graph.boxes.iter().filter(|of| of.column == column);
            self.columns.push(x);
            x += match (here().next(), here().any(|of| of.kind != BoxKind::Dots)) {
                (None, _) => CHANNEL,
                _ if self.is_dots_column(column) => PITCH - BOX_WIDTH + DOTS_WIDTH,
                _ => PITCH,
            };
        }
        let legend: f64 = self
            .legend()
            .iter()
            .map(|(_, words)| legend_width(words))
            .sum();
        self.width = (x - PITCH + BOX_WIDTH + 24.0).max(legend + 2.0 * MARGIN);
    }

    /// Whether a column is the dots of a sequence.
    fn is_dots_column(&self, column: usize) -> bool {
        let mut here = self.graph.boxes.iter().filter(|of| of.column == column);
        here.all(|of| of.kind == BoxKind::Dots)
    }

    fn words_width(&self, part: Part) -> f64 {
        let mut widest: f64 = 0.0;
        for row in 0..=self.last_row() {
            if let Some(name) = self.row_name(part, row) {
                widest = widest.max(width_of(name, FONT_SIZE));
            }
            let labels = self.up_labels(part, row).into_iter();
            for label in labels.chain(self.along_labels(part, row)) {
                widest = widest.max(width_of(&label, SMALL_FONT));
            }
        }
        widest
    }

    fn last_row(&self) -> usize {
        self.graph.boxes.iter().map(|of| of.row).max().unwrap_or(0)
    }

    fn place_rows(&mut self) {
        let graph = self.graph;
        let heading = if graph.parts().len() > 1 {
            LINE_HEIGHT
        } else {
            0.0
        };
        let top = 2.0 * LINE_HEIGHT + heading + 16.0;
        let mut tops = vec![0.0; self.last_row() + 1];
        let mut y = top;
        for row in (0..tops.len()).rev() {
            tops[row] = y;
            y += BOX_HEIGHT + if row == 0 { 0.0 } else { self.gap_below(row) };
        }
        self.rows = tops;
        self.height = y + MARGIN;
    }

    /// The space between a row and the one below it.
    fn gap_below(&self, row: usize) -> f64 {
        let graph = self.graph;
        let pairs = graph.boxes.iter().any(|above| {
            let is_above = above.row == row;
            is_above && graph.boxes.iter().any(|below| graph.is_pair(below, above))
        });
        if pairs {
            return 0.0;
        }
        let labels = graph
            .parts()
            .into_iter()
            .map(|part| self.up_labels(part, row).len());
        let words = labels.max().unwrap_or(0) as f64 * LABEL_HEIGHT;
        let beside = graph
            .parts()
            .into_iter()
            .map(|part| self.words_below(part, row));
        let beside = beside.fold(0.0, f64::max);
        (beside + words + 4.0).max(GAP)
    }

    /// From a row's boxes down to the first weight of what comes to it: past the lines that cross, and the weights along it.
    fn words_below(&self, part: Part, row: usize) -> f64 {
        let crossed = if self.is_crossed(row) {
            CROSS + 11.0
        } else {
            GATHER
        };
        let along = self.along_labels(part, row).len() as f64;
        crossed.max(along * LABEL_HEIGHT - BOX_HEIGHT / 2.0 + 14.0)
    }

    /// Whether a line from another part comes to a row from below.
    fn is_crossed(&self, row: usize) -> bool {
        self.graph.arrows.iter().any(|arrow| {
            let (from, to) = self.ends(arrow);
            from.part != to.part && to.row == row && to.kind != BoxKind::Bridge
        })
    }

    fn ends(&self, arrow: &Arrow) -> (&'a GraphBox, &'a GraphBox) {
        (&self.graph.boxes[arrow.from], &self.graph.boxes[arrow.to])
    }

    /// Whether a box stands in a column of its part's steps.
    fn is_step(&self, of: &GraphBox) -> bool {
        let first = self.graph.first_column(of.part);
        (first..first + COLUMNS).contains(&of.column)
    }

    fn row_name(&self, part: Part, row: usize) -> Option<&'a str> {
        let mut boxes = self.graph.boxes.iter();
        boxes
            .find(|of| of.part == part && of.row == row && self.is_step(of))
            .map(|of| of.name.as_str())
    }

    /// The weights of what comes to a row from below or from another part.
    fn up_labels(&self, part: Part, row: usize) -> Vec<String> {
        let weights = self.graph.weights(|arrow| {
            let (from, to) = self.ends(arrow);
            let is_layer = self.is_step(to) || to.kind == BoxKind::Linear;
            let comes = (from.part, from.row) != (to.part, to.row);
            let comes = comes && to.part == part && is_layer;
            // Both directions of a layer have theirs below it.
            comes && self.band_rows(to).0 == row
        });
        weights.into_iter().map(label_text).collect()
    }

    /// The weights from step to step, and those of the state that a layer begins with.
    fn along_labels(&self, part: Part, row: usize) -> Vec<String> {
        let weights = self.graph.weights(|arrow| {
            let (from, to) = self.ends(arrow);
            let here = to.part == part && to.row == row;
            here && (from.part == part && from.row == row || to.kind == BoxKind::Bridge)
        });
        weights.into_iter().map(label_text).collect()
    }

    /// The lowest and the highest row of the layer that a box belongs to.
    fn band_rows(&self, of: &GraphBox) -> (usize, usize) {
        let near = |other: &&GraphBox| other.part == of.part && other.column == of.column;
        let others = || self.graph.boxes.iter().filter(near);
        // Of the dots too the names tell.
        let below = others().any(|other| self.graph.is_pair(other, of));
        let above = others().any(|other| self.graph.is_pair(of, other));
        (of.row - usize::from(below), of.row + usize::from(above))
    }

    fn half_width(&self, of: &GraphBox) -> f64 {
        if of.kind == BoxKind::Dots {
            DOTS_WIDTH / 2.0
        } else {
            BOX_WIDTH / 2.0
        }
    }

    fn x(&self, of: &GraphBox) -> f64 {
        let width = if self.is_dots_column(of.column) {
            DOTS_WIDTH
        } else {
            BOX_WIDTH
        };
        self.columns[of.column] + width / 2.0
    }

    fn y(&self, of: &GraphBox) -> f64 {
        self.rows[of.row] + BOX_HEIGHT / 2.0
    }

    /// The upper edge of the layer of a box.
    fn top(&self, of: &GraphBox) -> f64 {
        self.rows[self.band_rows(of).1]
    }

    fn bottom(&self, of: &GraphBox) -> f64 {
        self.rows[self.band_rows(of).0] + BOX_HEIGHT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        canvas.text(
            self.graph.shape.name(),
            (MARGIN, 14.0),
            HPos::Left,
            Ink::Text,
        )?;
        self.draw_legend(canvas)?;
        let mut paths: Vec<(Vec<Point>, Line)> = Vec::new();
        for arrow in &self.graph.arrows {
            if let Some(path) = self.path(arrow)
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        }
        for (points, line) in &paths {
            canvas.arrow(points, *line)?;
        }
        for of in &self.graph.boxes {
            self.draw_box(canvas, of)?;
        }
        self.draw_words(canvas)
    }

    fn draw_box(&self, canvas: &mut Canvas<'_>, of: &GraphBox) -> Result<()> {
        let (x, y) = (self.x(of), self.y(of));
        if of.kind == BoxKind::Dots {
            let is_layer = !self.is_dots_column(of.column);
            let sign = if is_layer { "⋮" } else { "…" };
            return canvas.text(sign, (x, y), HPos::Center, Ink::Text);
        }
        let from = (x - BOX_WIDTH / 2.0, self.rows[of.row]);
        let to = (x + BOX_WIDTH / 2.0, self.rows[of.row] + BOX_HEIGHT);
        canvas.rectangle(from, to, Ink::Ground)?;
        let ink = ink_of(of.kind);
        canvas.pale_rectangle(from, to, ink, 0.16)?;
        canvas.outline(from, to, ink)?;
        let sizes = sizes_text(&of.sizes);
        let above = if self.is_step(of) {
            &of.symbol
        } else {
            &of.name
        };
        let line = |text: &str, font: f64| {
            let room = BOX_WIDTH - 14.0;
            font.min(font * room / width_of(text, font).max(1.0))
        };
        let write = |size| Writing {
            size,
            side: HPos::Center,
            upwards: false,
            ink: Ink::Text,
        };
        if above.is_empty() {
            return canvas.write(&sizes, (x, y), write(line(&sizes, FONT_SIZE)));
        }
        canvas.write(above, (x, y - 8.0), write(line(above, FONT_SIZE)))?;
        let small = Writing {
            ink: Ink::Muted,
            ..write(line(&sizes, SMALL_FONT))
        };
        canvas.write(&sizes, (x, y + 10.0), small)
    }

    fn draw_words(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let several = self.words.len() > 1;
        for &(part, x) in &self.words {
            if several {
                let heading = match part {
                    Part::Main => "sentence",
                    part => part.name(),
                };
                let at = (x, 2.0 * LINE_HEIGHT + 16.0);
                canvas.text(heading, at, HPos::Left, Ink::Text)?;
            }
            let small = Writing {
                size: SMALL_FONT,
                side: HPos::Left,
                upwards: false,
                ink: Ink::Muted,
            };
            for row in 0..=self.last_row() {
                let middle = self.rows[row] + BOX_HEIGHT / 2.0;
                let along = self.along_labels(part, row);
                if let Some(name) = self.row_name(part, row) {
                    let up = if along.is_empty() { 0.0 } else { 11.0 };
                    canvas.text(name, (x, middle - up), HPos::Left, Ink::Text)?;
                }
                let mut y = middle + 10.0;
                for label in along {
                    canvas.write(&label, (x, y), small)?;
                    y += LABEL_HEIGHT;
                }
                let mut y = self.rows[row] + BOX_HEIGHT + self.words_below(part, row);
                for label in self.up_labels(part, row) {
                    canvas.write(&label, (x, y), small)?;
                    y += LABEL_HEIGHT;
                }
            }
        }
        Ok(())
    }

    /// The kinds of arrows that there are, and what they mean.
    fn legend(&self) -> Vec<(Line, &'static str)> {
        let lines: Vec<Line> = self
            .graph
            .arrows
            .iter()
            .map(|arrow| self.line(arrow))
            .collect();
        [
            (Line::Forward, "from layer to layer"),
            (Line::Recurrent, "from a step to the next"),
            (Line::Reverse, "from a step to the one before"),
            (Line::Attention, "looked at"),
            (Line::FedBack, "written, then read"),
        ]
        .into_iter()
        .filter(|(line, _)| lines.contains(line))
        .collect()
    }

    fn draw_legend(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let (mut x, y) = (MARGIN, LINE_HEIGHT + 16.0);
        for (line, words) in self.legend() {
            canvas.arrow(&[(x, y), (x + SAMPLE, y)], line)?;
            let writing = Writing {
                size: SMALL_FONT,
                side: HPos::Left,
                upwards: false,
                ink: Ink::Muted,
            };
            canvas.write(words, (x + SAMPLE + 6.0, y), writing)?;
            x += legend_width(words);
        }
        Ok(())
    }

    fn line(&self, arrow: &Arrow) -> Line {
        let (from, to) = self.ends(arrow);
        match arrow.kind {
            ArrowKind::Forward if to.kind == BoxKind::Attention && from.part != to.part => {
                Line::Attention
            }
            ArrowKind::Forward => Line::Forward,
            ArrowKind::Recurrent => Line::Recurrent,
            ArrowKind::Reverse => Line::Reverse,
            ArrowKind::FedBack => Line::FedBack,
        }
    }

    /// The way of an arrow; none where another one's says the same.
    fn path(&self, arrow: &Arrow) -> Option<(Vec<Point>, Line)> {
        let (from, to) = self.ends(arrow);
        let line = self.line(arrow);
        let points = match arrow.kind {
            ArrowKind::Recurrent | ArrowKind::Reverse => {
                let way = if self.x(to) > self.x(from) { 1.0 } else { -1.0 };
                let start = self.x(from) + way * self.half_width(from);
                let end = self.x(to) - way * self.half_width(to);
                vec![(start, self.y(from)), (end, self.y(to))]
            }
            ArrowKind::FedBack => {
                let (start, end) = (
                    self.x(from) + self.half_width(from),
                    self.x(to) - self.half_width(to),
                );
                let way = (start + end) / 2.0;
                let (above, below) = (self.y(from), self.y(to));
                vec![(start, above), (way, above), (way, below), (end, below)]
            }
            ArrowKind::Forward if from.part != to.part => self.crossing(from, to)?,
            ArrowKind::Forward => self.upwards(from, to)?,
        };
        Some((points, line))
    }

    /// From part to part.
    fn crossing(&self, from: &GraphBox, to: &GraphBox) -> Option<Vec<Point>> {
        if from.kind == BoxKind::Dots {
            return None;
        }
        let riser = self.columns[from.column] + PITCH - 15.0;
        if to.kind == BoxKind::Bridge {
            let start = (self.x(from) + self.half_width(from), self.y(from));
            let end = (self.x(to) - self.half_width(to), self.y(to));
            return Some(vec![start, (riser, start.1), (riser, end.1), end]);
        }
        let bus = self.bottom(to) + CROSS;
        let end = self.x(to) - 14.0;
        let mut points = if from.kind == BoxKind::Summary || bus > self.top(from) {
            let start = (self.x(from) + self.half_width(from), self.y(from));
            vec![start, (riser, start.1), (riser, bus)]
        } else {
            let start = self.x(from) - 14.0;
            vec![(start, self.top(from)), (start, bus)]
        };
        points.extend([(end, bus), (end, self.bottom(to))]);
        Some(points)
    }

    /// From a row to one above it.
    fn upwards(&self, from: &GraphBox, to: &GraphBox) -> Option<Vec<Point>> {
        let start = (self.x(from), self.top(from));
        let end = (self.x(to), self.bottom(to));
        if !self.is_step(from) {
            // Beside the steps: up, then to the left.
            let side = self.x(to) + self.half_width(to);
            return Some(vec![start, (start.0, self.y(to)), (side, self.y(to))]);
        }
        if !self.is_step(to) {
            let bus = start.1 - 10.0;
            let shifted = start.0 + 14.0;
            let points = vec![(shifted, start.1), (shifted, bus), (end.0, bus), end];
            return (from.kind != BoxKind::Dots).then_some(points);
        }
        if from.column == to.column {
            return Some(vec![start, end]);
        }
        let beside = self.graph.boxes.iter().filter(|of| {
            of.part == to.part && of.row == to.row && self.is_step(of) && of.kind != BoxKind::Dots
        });
        if beside.count() > 1 {
            return Some(vec![start, end]);
        }
        let bus = end.1 + GATHER;
        let points = vec![start, (start.0, bus), (end.0, bus), end];
        (from.kind != BoxKind::Dots).then_some(points)
    }
}

fn legend_width(words: &str) -> f64 {
    SAMPLE + 6.0 + width_of(words, SMALL_FONT) + 16.0
}

/// How an arrow is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Forward,
    Recurrent,
    Reverse,
    Attention,
    FedBack,
}

impl Line {
    fn ink(self) -> Ink {
        match self {
            Self::Forward => Ink::Muted,
            Self::Recurrent => Ink::Series(Color::Blue),
            Self::Reverse => Ink::Series(Color::Purple),
            Self::Attention => Ink::Series(Color::Vermillion),
            Self::FedBack => Ink::Series(Color::Green),
        }
    }
}

impl Canvas<'_> {
    fn outline(&mut self, from: Point, to: Point, ink: Ink) -> Result<()> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from].map(whole);
        let style = stroke(ink, 1.25, 1.0);
        drawn(self.backend.draw_path(corners, &style))
    }

    /// A line with a head at its end; what is fed back is dashed.
    fn arrow(&mut self, points: &[Point], line: Line) -> Result<()> {
        let [.., before, end] = points else {
            return Ok(());
        };
        let (ink, size) = (line.ink(), 7.0);
        let (dx, dy) = (end.0 - before.0, end.1 - before.1);
        let length = (dx * dx + dy * dy).sqrt().max(1e-9);
        let (dx, dy) = (dx / length, dy / length);
        let neck = (end.0 - size * dx, end.1 - size * dy);
        let mut shaft = points.to_vec();
        if let Some(last) = shaft.last_mut() {
            *last = neck;
        }
        let style = stroke(ink, 1.5, 1.0);
        if line == Line::FedBack {
            for pair in shaft.windows(2) {
                self.dashed(pair[0], pair[1], ink)?;
            }
        } else {
            let shaft: Vec<_> = shaft.into_iter().map(whole).collect();
            drawn(self.backend.draw_path(shaft, &style))?;
        }
        let half = 0.45 * size;
        let head = [
            *end,
            (neck.0 - half * dy, neck.1 + half * dx),
            (neck.0 + half * dy, neck.1 - half * dx),
        ];
        let fill = ink.light().filled();
        drawn(self.backend.fill_polygon(head.map(whole), &fill))
    }

    fn dashed(&mut self, from: Point, to: Point, ink: Ink) -> Result<()> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).sqrt();
        let (dash, pace) = (5.0, 9.0);
        let style = stroke(ink, 1.5, 1.0);
        let mut at = 0.0;
        while at < length {
            let on = |at: f64| {
                let share = at / length;
                whole((from.0 + share * dx, from.1 + share * dy))
            };
            let end = (at + dash).min(length);
            drawn(self.backend.draw_path([on(at), on(end)], &style))?;
            at += pace;
        }
        Ok(())
    }
}
