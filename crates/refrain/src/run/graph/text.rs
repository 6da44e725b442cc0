//! A graph in characters.

use super::{Arrow, ArrowKind, BoxKind, Graph, GraphBox, Part, product};

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns between the first box and the second.
const GAP: usize = 5;
/// Columns between the second box and the last, the dots in their middle.
const DOTS_GAP: usize = 9;
/// Letters in a box; of more the last are left out.
const MOST_LETTERS: usize = 11;
/// Columns of a part.
const COLUMNS: usize = 4;
const DOTS: usize = 2;
const LAST: usize = 3;

/// Rows of boxes that are drawn together, the lower first: one row, or the two directions of a layer.
struct Band {
    rows: Vec<usize>,
}

/// The boxes of one part, and where its columns stand.
struct Layout<'a> {
    graph: &'a Graph,
    part: Part,
    first: usize,
    /// Whether there are steps.
    is_sequence: bool,
    /// Where each column begins; of the dots their place.
    starts: [usize; COLUMNS],
    /// Columns of a box.
    width: usize,
}

/// Lines of characters that grow as they are written on.
#[derive(Default)]
struct Page {
    lines: Vec<Vec<char>>,
}

impl Page {
    fn put(&mut self, line: usize, column: usize, text: &str) {
        if self.lines.len() <= line {
            self.lines.resize_with(line + 1, Vec::new);
        }
        let line = &mut self.lines[line];
        for (at, letter) in text.chars().enumerate() {
            let at = column + at;
            if at >= WIDTH {
                break;
            }
            if line.len() <= at {
                line.resize(at + 1, ' ');
            }
            line[at] = letter;
        }
    }

    fn at(&self, line: usize, column: usize) -> char {
        let line = self.lines.get(line);
        line.and_then(|line| line.get(column))
            .copied()
            .unwrap_or(' ')
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        for line in self.lines {
            let line: String = line.into_iter().collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Graph {
    /// The graph in box-drawing characters, at most 80 columns wide: inputs below, outputs above, time to the right, beside each row
    /// its name and its weights. What is written stands above what is read.
    ///
    /// # Examples
    ///
    /// ```
    /// use refrain::models::{LanguageModel, ModelConfig};
    /// use refrain::run::graph::Graph;
    ///
    /// let model = LanguageModel::zeros(&ModelConfig::default(), 65);
    /// let text = Graph::of_language_model(&model).to_text();
    /// assert!(text.starts_with("many to many, aligned\n"));
    /// assert!(text.contains("weight_hh_l0 512x128"));
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.shape.name());
        let parts = self.parts();
        for &part in parts.iter().rev() {
            let heading = match part {
                Part::Main if parts.len() == 1 => None,
                Part::Main => Some("the sentence"),
                Part::Spelling => Some("the spelling of each word"),
                part => Some(part.name()),
            };
            text.push('\n');
            if let Some(heading) = heading {
                text.push_str(&format!("{heading}\n"));
            }
            text.push_str(&Layout::new(self, part).draw());
        }
        text
    }
}

/// Whether boxes of this kind are drawn as a word alone.
fn is_word(of: &GraphBox) -> bool {
    matches!(
        of.kind,
        BoxKind::Input | BoxKind::Output | BoxKind::Convolution
    )
}

/// What stands in a box.
fn letters(of: &GraphBox) -> String {
    let text = match of.kind {
        BoxKind::Input | BoxKind::Output => of.symbol.clone(),
        _ => product(&of.sizes),
    };
    shortened(&text, MOST_LETTERS)
}

/// At most so many letters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

impl<'a> Layout<'a> {
    fn new(graph: &'a Graph, part: Part) -> Self {
        let first = graph.first_column(part);
        let mut layout = Self {
            graph,
            part,
            first,
            is_sequence: false,
            starts: [0; COLUMNS],
            width: 0,
        };
        let boxes: Vec<_> = graph.boxes.iter().filter(|of| layout.is_here(of)).collect();
        layout.is_sequence = boxes.iter().any(|of| of.column > first);
        let widths = boxes
            .iter()
            .filter(|of| of.kind != BoxKind::Dots)
            .map(|of| {
                let letters = letters(of).chars().count();
                // A word may be wider than the box.
                if is_word(of) {
                    letters.saturating_sub(5)
                } else {
                    letters
                }
            });
        layout.width = widths.fold(3, usize::max) + 4;
        let room = if layout.is_sequence {
            3 * layout.width + GAP + DOTS_GAP
        } else {
            layout.width
        };
        let margins = boxes.iter().map(|of| layout.margin(of.row));
        let margin = margins.fold(0, usize::max).min(WIDTH - room - 1);
        let second = margin + layout.width + GAP;
        layout.starts = [
            margin,
            second,
            second + layout.width + DOTS_GAP / 2,
            second + layout.width + DOTS_GAP,
        ];
        layout
    }

    /// Whether a box stands in one of the part's columns of steps.
    fn is_here(&self, of: &GraphBox) -> bool {
        of.part == self.part && (self.first..self.first + COLUMNS).contains(&of.column)
    }

    /// The boxes of a row, by the number of their column.
    fn row(&self, row: usize) -> Vec<(usize, &'a GraphBox)> {
        let boxes = self.graph.boxes.iter();
        boxes
            .filter(|of| of.row == row && self.is_here(of))
            .map(|of| (of.column - self.first, of))
            .collect()
    }

    /// Columns that the words of a row take.
    fn margin(&self, row: usize) -> usize {
        let lines = self.up_labels(row).into_iter().chain(self.along_label(row));
        let lines = lines.chain(self.incoming(row).1);
        let longest = lines.map(|line| line.chars().count()).max().unwrap_or(0);
        let name = self.name(row).chars().count();
        let source = self.incoming(row).0;
        let source = source.map_or(0, |source| source.chars().count() + 6);
        (longest + if self.is_words(row) { 2 } else { 0 }).max(name + source) + 2
    }

    fn name(&self, row: usize) -> String {
        let row = self.row(row);
        let of = row
            .iter()
            .find(|(column, _)| *column != DOTS)
            .or(row.first());
        of.map_or_else(String::new, |(_, of)| match of.kind {
            BoxKind::Input | BoxKind::Output => {
                format!("{} {}", of.name, product(&of.sizes))
            }
            _ => of.name.clone(),
        })
    }

    fn ends(&self, arrow: &Arrow) -> (&'a GraphBox, &'a GraphBox) {
        (&self.graph.boxes[arrow.from], &self.graph.boxes[arrow.to])
    }

    /// Whether an arrow comes from below, within the part, to a row.
    fn comes_up(&self, arrow: &Arrow, row: usize) -> bool {
        let (from, to) = self.ends(arrow);
        let here = self.is_here(from) && self.is_here(to);
        here && to.row == row && from.row < row && arrow.kind == ArrowKind::Forward
    }

    fn up_labels(&self, row: usize) -> Vec<String> {
        let weights = self.graph.weights(|arrow| self.comes_up(arrow, row));
        weights.into_iter().map(super::Weight::label).collect()
    }

    fn along_label(&self, row: usize) -> Option<String> {
        let weights = self.graph.weights(|arrow| {
            let (from, to) = self.ends(arrow);
            self.is_here(from) && self.is_here(to) && from.row == row && to.row == row
        });
        weights.first().map(|weight| weight.label())
    }

    /// What comes to a row from elsewhere, and the weights on the way.
    fn incoming(&self, row: usize) -> (Option<String>, Vec<String>) {
        let comes = |arrow: &Arrow| {
            let (from, to) = self.ends(arrow);
            self.is_here(to) && to.row == row && !self.is_here(from)
        };
        let Some(arrow) = self.graph.arrows.iter().find(|arrow| comes(arrow)) else {
            return (None, Vec::new());
        };
        let (from, to) = self.ends(arrow);
        let from_layer = |before: &Arrow| before.to == arrow.from && from.part == self.part;
        let weights = self
            .graph
            .weights(|arrow| comes(arrow) || from_layer(arrow));
        let name = match (from.kind, to.kind) {
            (_, BoxKind::Attention) => "all states".to_owned(),
            (BoxKind::Summary, BoxKind::Embedding) => "spelling".to_owned(),
            (BoxKind::Summary, _) => "summary".to_owned(),
            _ => from.name.clone(),
        };
        // Weights of h and c are alike, as are those that the row has from below.
        let own = self.up_labels(row);
        let mut labels: Vec<String> = Vec::new();
        for weight in weights {
            let label = weight.label();
            let alike =
                |other: &String| other.split(' ').next_back() == label.split(' ').next_back();
            if from.kind == BoxKind::Bridge && labels.iter().any(alike) {
                labels[0] += ", twice";
            } else if !own.contains(&label) {
                labels.push(label);
            }
        }
        (Some(name), labels)
    }

    /// The middle of a column.
    fn middle(&self, column: usize) -> usize {
        match column {
            DOTS => self.starts[DOTS],
            _ => self.starts[column] + self.width / 2,
        }
    }

    /// From the top down.
    fn bands(&self) -> Vec<Band> {
        let boxes = self.graph.boxes.iter().filter(|of| self.is_here(of));
        let mut rows: Vec<usize> = boxes.map(|of| of.row).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut bands: Vec<Band> = Vec::new();
        for row in rows {
            let above = self.row(row)[0].1;
            if let Some(band) = bands.last_mut()
                && let Some((_, below)) = self.row(band.rows[0]).first()
                && self.graph.is_pair(below, above)
            {
                band.rows.push(row);
            } else {
                bands.push(Band { rows: vec![row] });
            }
        }
        bands.reverse();
        bands
    }

    fn draw(&self) -> String {
        let mut page = Page::default();
        let (mut line, bands) = (0, self.bands());
        let mut lines = Vec::new();
        for (at, band) in bands.iter().enumerate() {
            lines.push(line);
            line = self.draw_band(&mut page, line, band);
            if let Some(below) = bands.get(at + 1) {
                line = self.draw_gap(&mut page, line, band, below);
            }
        }
        // From the line of the outputs to that of the inputs.
        if let (Some(&top), Some(&bottom)) = (lines.first(), lines.last()) {
            self.draw_feedback(&mut page, top, bottom);
        }
        page.into_text()
    }

    /// Whether a row is drawn as words without boxes.
    fn is_words(&self, row: usize) -> bool {
        let row = self.row(row);
        row.iter()
            .all(|(_, of)| is_word(of) || of.kind == BoxKind::Dots)
    }

    fn margin_text(&self, page: &mut Page, line: usize, text: &str) {
        page.put(line, 0, &shortened(text, self.starts[0].saturating_sub(1)));
    }

    /// Draws the rows of a band from `line` on; gives the line after it.
    fn draw_band(&self, page: &mut Page, line: usize, band: &Band) -> usize {
        let lowest = self.row(band.rows[0]);
        if self.is_words(band.rows[0]) {
            let row = band.rows[0];
            self.margin_text(page, line, &self.name(row));
            let layers = lowest.iter().all(|(_, of)| of.kind == BoxKind::Dots);
            for (column, of) in &lowest {
                let text = match (of.kind, layers) {
                    (BoxKind::Dots, true) if *column != DOTS => "⋮".to_owned(),
                    (BoxKind::Dots, true) => String::new(),
                    (BoxKind::Dots, false) => "…".to_owned(),
                    _ => letters(of),
                };
                let start = self.middle(*column) - text.chars().count() / 2;
                page.put(line, start, &text);
            }
            return line + 1;
        }
        let mut line = line;
        for (at, &row) in band.rows.iter().rev().enumerate() {
            let top = if at == 0 { "┌─┐" } else { "├─┤" };
            self.draw_boxes(page, line, row, top);
            line += 2;
            if at + 1 == band.rows.len() {
                self.draw_edge(page, line, row, "└─┘");
            }
        }
        let mut notes = line;
        for text in self.incoming(band.rows[0]).1 {
            self.margin_text(page, notes, &text);
            notes += 1;
        }
        notes.max(line + 1)
    }

    fn draw_edge(&self, page: &mut Page, line: usize, row: usize, edge: &str) {
        let edge: Vec<char> = edge.chars().collect();
        for (column, of) in self.row(row) {
            if of.kind != BoxKind::Dots {
                let middle = edge[1].to_string().repeat(self.width - 2);
                let text = format!("{}{middle}{}", edge[0], edge[2]);
                page.put(line, self.starts[column], &text);
            }
        }
    }

    /// The upper edge and the middle of a row of boxes, with the arrows along it.
    fn draw_boxes(&self, page: &mut Page, line: usize, row: usize, top: &str) {
        self.draw_edge(page, line, row, top);
        if let Some(label) = self.along_label(row) {
            self.margin_text(page, line, &label);
        }
        let (line, inner) = (line + 1, self.width - 2);
        self.margin_text(page, line, &self.name(row));
        for (column, of) in self.row(row) {
            let text = match of.kind {
                BoxKind::Dots => "…".to_owned(),
                _ => format!("│{:^inner$}│", letters(of)),
            };
            page.put(line, self.starts[column], &text);
        }
        let along = self.graph.arrows.iter().find(|arrow| {
            let (from, to) = self.ends(arrow);
            let here = self.is_here(from) && self.is_here(to);
            here && from.row == row && to.row == row
        });
        if let Some(arrow) = along {
            let (one, two) = match arrow.kind {
                ArrowKind::Reverse => ("←────", "←── … ←──"),
                _ => ("────→", "──→ … ──→"),
            };
            page.put(line, self.starts[0] + self.width, one);
            page.put(line, self.starts[1] + self.width, two);
        }
        if let (Some(source), _) = self.incoming(row) {
            let to_first = self.row(row).iter().any(|(column, _)| *column == 0);
            let text = if to_first {
                format!("{source} ──→")
            } else {
                format!("{source} ──")
            };
            let length = text.chars().count();
            let after_name = self.name(row).chars().count() + 1;
            let start = self.starts[0].saturating_sub(length).max(after_name);
            page.put(line, start, &text);
            if !to_first {
                let from = start + length;
                let to = self.starts[LAST];
                page.put(line, from, &"─".repeat(to.saturating_sub(from + 1)));
                page.put(line, to - 1, "→");
            }
        }
    }

    /// The arrows from one band to the one above it, and the weights on them; gives the line after them.
    fn draw_gap(&self, page: &mut Page, line: usize, above: &Band, below: &Band) -> usize {
        let mut feeds = [[false; COLUMNS]; COLUMNS];
        for arrow in &self.graph.arrows {
            let (from, to) = self.ends(arrow);
            let here = self.is_here(from) && self.is_here(to);
            if here && below.rows.contains(&from.row) && above.rows.contains(&to.row) {
                feeds[to.column - self.first][from.column - self.first] = true;
            }
        }
        let mut labels: Vec<String> = Vec::new();
        for &row in &above.rows {
            if self.is_words(row) {
                // What is added to what comes from below.
                let added = self.incoming(row).1.into_iter();
                labels.extend(added.map(|label| format!("+ {label}")));
            }
            labels.extend(self.up_labels(row));
        }
        let gives: Vec<usize> = (0..COLUMNS)
            .filter(|&from| feeds.iter().any(|to| to[from]))
            .collect();
        let takes: Vec<usize> = (0..COLUMNS)
            .filter(|&to| feeds[to].contains(&true))
            .collect();
        for &to in &takes {
            page.put(line, self.middle(to), "↑");
        }
        let straight = |to: &usize| (0..COLUMNS).all(|from| !feeds[*to][from] || from == *to);
        let mut next = line + 1;
        if !takes.iter().all(straight) {
            self.draw_bus(page, next, &gives, &takes);
            next += 1;
        }
        while next < line + labels.len() {
            for &from in &gives {
                page.put(next, self.middle(from), "│");
            }
            next += 1;
        }
        for (at, label) in labels.iter().enumerate() {
            self.margin_text(page, line + at, label);
        }
        next
    }

    /// One line that joins all columns that give and all that take.
    fn draw_bus(&self, page: &mut Page, line: usize, gives: &[usize], takes: &[usize]) {
        let ends = gives.iter().chain(takes).map(|&column| self.middle(column));
        let (Some(left), Some(right)) = (ends.clone().min(), ends.max()) else {
            return;
        };
        page.put(line, left, &"─".repeat(right - left + 1));
        for column in 0..COLUMNS {
            let at = self.middle(column);
            let (gives, takes) = (gives.contains(&column), takes.contains(&column));
            let mark = match (gives, takes, at == left, at == right) {
                (false, false, ..) => continue,
                (true, true, true, _) => "├",
                (true, true, _, true) => "┤",
                (true, true, ..) => "┼",
                (true, false, true, _) => "┌",
                (true, false, _, true) => "┐",
                (true, false, ..) => "┬",
                (false, true, true, _) => "└",
                (false, true, _, true) => "┘",
                (false, true, ..) => "┴",
            };
            page.put(line, at, mark);
        }
    }

    /// What is written is read at the next step: dotted lines between the columns.
    fn draw_feedback(&self, page: &mut Page, top: usize, bottom: usize) {
        for arrow in &self.graph.arrows {
            let (from, to) = self.ends(arrow);
            if arrow.kind != ArrowKind::FedBack || !self.is_here(from) || !self.is_here(to) {
                continue;
            }
            let (from, to) = (from.column - self.first, to.column - self.first);
            let way = match to {
                LAST => self.starts[DOTS] + 3,
                _ => self.starts[from] + self.width + 1,
            };
            page.put(top, way, "┐");
            // A space stays beside the words.
            let mut at = way;
            while at > self.middle(from) + 2 && page.at(top, at - 2) == ' ' {
                at -= 1;
                page.put(top, at, "┄");
            }
            for line in top + 1..bottom {
                if matches!(page.at(line, way), ' ' | '─') {
                    page.put(line, way, "┊");
                }
            }
            page.put(bottom, way, "└");
            let mut at = way + 1;
            while at + 2 < self.middle(to) && page.at(bottom, at + 2) == ' ' {
                page.put(bottom, at, "┄");
                at += 1;
            }
            page.put(bottom, at, "→");
        }
    }
}
