//! From models to their graphs.

mod models;

use std::collections::BTreeMap;

use super::{Arrow, ArrowKind, BoxKind, Graph, GraphBox, Part, SequenceShape, Weight};
use crate::models::{Body, Encoder, ModelConfig, Reader, View};
use crate::nn::{CellKind, Parameter, Pooling, Window};

/// How the names of the rows of a layer that reads both ways end.
pub(super) const FORWARD: &str = ", forward";
/// The same.
pub(super) const REVERSE: &str = ", reverse";

/// Columns of a sequence: the first step, the second, dots, the last.
const STEPS: usize = 4;
const DOTS: usize = 2;
const LAST: usize = 3;
/// The most layers that are all drawn; of more the first two and the last.
const MOST_LAYERS: usize = 4;

/// The boxes of a row by column: those of a sequence, or one.
type Row = Vec<usize>;

/// What is alike in a row.
struct Like<'a> {
    row: usize,
    name: String,
    kind: BoxKind,
    sizes: &'a [usize],
    symbols: [String; STEPS],
}

/// Where a graph has come to: what gives features, and the first row above it.
struct Top {
    rows: Vec<Row>,
    next: usize,
}

/// Recurrent layers to draw.
struct Layers<'a> {
    owner: &'a str,
    cell: &'static str,
    count: usize,
    hidden_size: usize,
    bidirectional: bool,
    /// Rows from a layer to the next.
    spacing: usize,
}

struct Builder<'a> {
    shapes: BTreeMap<&'a str, &'a [usize]>,
    boxes: Vec<GraphBox>,
    arrows: Vec<Arrow>,
    part: Part,
    /// The column of the part's first step.
    first: usize,
    /// Whether the part reads a sequence.
    is_sequence: bool,
}

/// `x1`, `x2`, …, `xT`.
fn symbols(letter: &str, last: &str) -> [String; STEPS] {
    [
        format!("{letter}1"),
        format!("{letter}2"),
        String::new(),
        format!("{letter}{last}"),
    ]
}

fn no_symbols() -> [String; STEPS] {
    Default::default()
}

/// The layers that are drawn; `None` for those that are not.
fn shown(count: usize) -> Vec<Option<usize>> {
    if count <= MOST_LAYERS {
        (0..count).map(Some).collect()
    } else {
        vec![Some(0), Some(1), None, Some(count - 1)]
    }
}

fn more_layers(count: usize) -> String {
    format!("{} more layers", count - 3)
}

fn cell_name(cell: CellKind) -> &'static str {
    match cell {
        CellKind::Rnn => "RNN",
        CellKind::Gru => "GRU",
        CellKind::Lstm => "LSTM",
        CellKind::Mlp => "mlp",
    }
}

impl<'a> Builder<'a> {
    /// A builder that finds the shapes of the parameters that `visit` shows.
    fn new(visit: impl FnOnce(&mut dyn FnMut(&'a Parameter<f32>))) -> Self {
        let mut shapes = BTreeMap::new();
        visit(&mut |parameter| {
            shapes.insert(parameter.name.as_str(), parameter.shape.as_slice());
        });
        Self {
            shapes,
            boxes: Vec::new(),
            arrows: Vec::new(),
            part: Part::Main,
            first: 0,
            is_sequence: true,
        }
    }

    fn finish(self, shape: SequenceShape) -> Graph {
        Graph {
            shape,
            boxes: self.boxes,
            arrows: self.arrows,
        }
    }

    /// A parameter, where the model has it.
    fn weight(&self, name: &str) -> Vec<Weight> {
        let found = self.shapes.get(name).map(|shape| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
        });
        found.into_iter().collect()
    }

    fn add(&mut self, like: &Like<'_>, column: usize, kind: BoxKind, symbol: &str) -> usize {
        self.boxes.push(GraphBox {
            name: like.name.clone(),
            symbol: symbol.to_owned(),
            sizes: like.sizes.to_vec(),
            row: like.row,
            column,
            kind,
            part: self.part,
        });
        self.boxes.len() - 1
    }

    /// A box for each step.
    fn row(&mut self, like: &Like<'_>) -> Row {
        if !self.is_sequence {
            return self.last(like);
        }
        (0..STEPS)
            .map(|step| {
                let kind = if step == DOTS {
                    BoxKind::Dots
                } else {
                    like.kind
                };
                self.add(like, self.first + step, kind, &like.symbols[step])
            })
            .collect()
    }

    /// One box, in the column of the last step.
    fn last(&mut self, like: &Like<'_>) -> Row {
        let column = self.first + if self.is_sequence { LAST } else { 0 };
        vec![self.add(like, column, like.kind, &like.symbols[LAST])]
    }

    fn arrow(&mut self, from: usize, to: usize, kind: ArrowKind, weights: &[Weight]) {
        self.arrows.push(Arrow {
            from,
            to,
            kind,
            weights: weights.to_vec(),
        });
    }

    /// Each step feeds the step above it.
    fn up(&mut self, below: &[Row], above: &Row, weights: &[Weight]) {
        for row in below {
            match (row.len(), above.len()) {
                (STEPS, STEPS) => {
                    for step in [0, 1, LAST] {
                        self.arrow(row[step], above[step], ArrowKind::Forward, weights);
                    }
                }
                (from, to) => {
                    self.arrow(row[from - 1], above[to - 1], ArrowKind::Forward, weights);
                }
            }
        }
    }

    /// All steps feed one box.
    fn gather(&mut self, below: &[Row], above: &Row, weights: &[Weight]) {
        for &from in below.iter().flatten() {
            self.arrow(from, above[0], ArrowKind::Forward, weights);
        }
    }

    /// Some boxes feed each step.
    fn spread(&mut self, from: &[usize], above: &Row, weights: &[Weight]) {
        for &to in above {
            if self.boxes[to].kind != BoxKind::Dots {
                for &from in from {
                    self.arrow(from, to, ArrowKind::Forward, weights);
                }
            }
        }
    }

    /// Each step sees the window around it.
    fn window(&mut self, below: &[Row], above: &Row, window: Window, weights: &[Weight]) {
        let sees = |at: usize, seen: usize| match (at, seen) {
            (0, 1) | (1, DOTS) => window.after >= 1,
            (0, DOTS) => window.after >= 2,
            (1, 0) | (LAST, DOTS) => window.before >= 1,
            _ => at == seen,
        };
        for row in below {
            for at in [0, 1, LAST] {
                for (seen, &from) in row.iter().enumerate() {
                    if sees(at, seen) {
                        self.arrow(from, above[at], ArrowKind::Forward, weights);
                    }
                }
            }
        }
    }

    /// From step to step.
    fn along(&mut self, row: &Row, kind: ArrowKind, weights: &[Weight]) {
        for pair in row.windows(2) {
            let (from, to) = match kind {
                ArrowKind::Reverse => (pair[1], pair[0]),
                _ => (pair[0], pair[1]),
            };
            self.arrow(from, to, kind, weights);
        }
    }

    /// What is written is read at the next step.
    fn feed_back(&mut self, outputs: &Row, inputs: &Row) {
        for (&from, &to) in outputs.iter().zip(&inputs[1..]) {
            self.arrow(from, to, ArrowKind::FedBack, &[]);
        }
    }

    /// Recurrent layers, lowest first; gives also the rows of each layer that is drawn, with its number.
    fn recurrent(&mut self, layers: &Layers<'_>, below: Top) -> (Top, Vec<(usize, Row)>) {
        let Top { mut rows, mut next } = below;
        let mut forwards = Vec::new();
        for layer in shown(layers.count) {
            let Some(layer) = layer else {
                let dots = self.row(&Like {
                    row: next,
                    name: more_layers(layers.count),
                    kind: BoxKind::Dots,
                    sizes: &[layers.hidden_size * (1 + usize::from(layers.bidirectional))],
                    symbols: no_symbols(),
                });
                self.up(&rows, &dots, &[]);
                (rows, next) = (vec![dots], next + layers.spacing);
                continue;
            };
            let mut above = Vec::new();
            let ways: &[(&str, &str, ArrowKind)] = if layers.bidirectional {
                &[
                    ("", FORWARD, ArrowKind::Recurrent),
                    ("_reverse", REVERSE, ArrowKind::Reverse),
                ]
            } else {
                &[("", "", ArrowKind::Recurrent)]
            };
            for (at, (ending, words, kind)) in ways.iter().enumerate() {
                let row = self.row(&Like {
                    row: next + at,
                    name: format!("{} {}{words}", layers.cell, layer + 1),
                    kind: BoxKind::Recurrent,
                    sizes: &[layers.hidden_size],
                    symbols: no_symbols(),
                });
                let name = |side: &str| format!("{}.weight_{side}_l{layer}{ending}", layers.owner);
                let (input, state) = (self.weight(&name("ih")), self.weight(&name("hh")));
                self.up(&rows, &row, &input);
                self.along(&row, *kind, &state);
                above.push(row);
            }
            forwards.push((layer, above[0].clone()));
            (rows, next) = (above, next + layers.spacing);
        }
        (Top { rows, next }, forwards)
    }

    /// The plain network; gives also its lowest layer.
    fn plain(&mut self, owner: &str, config: &ModelConfig, below: Top, view: View) -> (Top, Row) {
        let Top { mut rows, mut next } = below;
        let mut lowest = Vec::new();
        if view == View::Mean {
            let sizes = rows[0].first().map(|&at| self.boxes[at].sizes.clone());
            let mean = self.last(&Like {
                row: next,
                name: "mean of all steps".into(),
                kind: BoxKind::Summary,
                sizes: &sizes.unwrap_or_default(),
                symbols: no_symbols(),
            });
            self.gather(&rows, &mean, &[]);
            (rows, next) = (vec![mean], next + 1);
        }
        for layer in shown(config.num_layers) {
            let sizes = [config.hidden_size];
            let (name, kind, sizes) = match layer {
                None => (more_layers(config.num_layers), BoxKind::Dots, &sizes[..]),
                Some(layer) => (format!("mlp {}", layer + 1), BoxKind::Linear, &sizes[..]),
            };
            let name = match (layer, view) {
                (Some(0), View::Window(window)) if window.len() > 1 => {
                    format!("{name}, window of {}", window.len())
                }
                (Some(0), View::Whole(steps)) => format!("{name}, all {steps} steps"),
                _ => name,
            };
            let like = Like {
                row: next,
                name,
                kind,
                sizes,
                symbols: no_symbols(),
            };
            let above = match view {
                View::Window(_) => self.row(&like),
                View::Mean | View::Whole(_) => self.last(&like),
            };
            let weights = layer.map_or_else(Vec::new, |layer| {
                self.weight(&format!("{owner}.{layer}.weight"))
            });
            match (layer, view) {
                (Some(0), View::Window(window)) if self.is_sequence => {
                    self.window(&rows, &above, window, &weights);
                }
                (Some(0), View::Whole(_)) => self.gather(&rows, &above, &weights),
                _ => self.up(&rows, &above, &weights),
            }
            if lowest.is_empty() {
                lowest.clone_from(&above);
            }
            (rows, next) = (vec![above], next + 1);
        }
        (Top { rows, next }, lowest)
    }

    /// Tokens and their vectors.
    fn tokens(&mut self, name: &str, vocab_size: usize, embedding: &str, features: usize) -> Top {
        let last = match self.part {
            Part::Spelling => "n",
            Part::Encoder => "S",
            Part::Main | Part::Decoder => "T",
        };
        let letter = if self.part == Part::Spelling {
            "c"
        } else {
            "x"
        };
        let input = self.row(&Like {
            row: 0,
            name: name.into(),
            kind: BoxKind::Input,
            sizes: &[vocab_size],
            symbols: symbols(letter, last),
        });
        let weights = self.weight(embedding);
        let vectors = self.row(&Like {
            row: 1,
            name: "embedding".into(),
            kind: BoxKind::Embedding,
            sizes: &[features],
            symbols: no_symbols(),
        });
        self.up(&[input], &vectors, &weights);
        Top {
            rows: vec![vectors],
            next: 2,
        }
    }

    /// What reads a step.
    fn reader(&mut self, encoder: &Encoder<f32>, prefix: &str) -> Top {
        let last = if self.part == Part::Encoder { "S" } else { "T" };
        let letters = if self.is_sequence {
            symbols("x", last)
        } else {
            ["x"; STEPS].map(String::from)
        };
        match &encoder.reader {
            Reader::Tokens(embedding) => {
                let name = format!("{prefix}embedding.weight");
                let features = encoder.features();
                self.tokens("token", embedding.vocab_size(), &name, features)
            }
            Reader::Words(embedding, characters) => {
                let (part, first) = (self.part, self.first);
                self.part = Part::Spelling;
                let owner = format!("{prefix}characters");
                let count = characters.embedding.vocab_size();
                let features = characters.embedding.weight.shape[1];
                let vectors = self.tokens(
                    "character",
                    count,
                    &format!("{owner}.embedding.weight"),
                    features,
                );
                let layers = Layers {
                    owner: &format!("{owner}.rnn"),
                    cell: "LSTM",
                    count: 1,
                    hidden_size: characters.stack.hidden_size(),
                    bidirectional: true,
                    spacing: 2,
                };
                let (top, _) = self.recurrent(&layers, vectors);
                let spelling = self.pooled(&top, Pooling::Last, characters.stack.output_size());
                (self.part, self.first) = (part, first + STEPS + 1);
                let name = format!("{prefix}embedding.weight");
                let vectors =
                    self.tokens("word", embedding.vocab_size(), &name, encoder.features());
                for &at in &vectors.rows[0] {
                    self.boxes[at].name = "embedding, spelling".into();
                }
                self.spread(&spelling.rows[0], &vectors.rows[0], &[]);
                vectors
            }
            Reader::Vectors => {
                let input = self.row(&Like {
                    row: 0,
                    name: "numbers".into(),
                    kind: BoxKind::Input,
                    sizes: &[encoder.features()],
                    symbols: letters,
                });
                Top {
                    rows: vec![input],
                    next: 1,
                }
            }
            Reader::Frames(frames) => {
                let (mut height, mut width) = (frames.config.height, frames.config.width);
                let mut below = self.row(&Like {
                    row: 0,
                    name: "picture".into(),
                    kind: BoxKind::Input,
                    sizes: &[height, width, frames.config.channels],
                    symbols: letters,
                });
                for (at, convolution) in frames.convolutions.iter().enumerate() {
                    (height, width) = (height.div_ceil(2), width.div_ceil(2));
                    let above = self.row(&Like {
                        row: at + 1,
                        name: format!("convolution {}", at + 1),
                        kind: BoxKind::Convolution,
                        sizes: &[height, width, convolution.weight.shape[0]],
                        symbols: no_symbols(),
                    });
                    let weights = self.weight(&convolution.weight.name);
                    self.up(&[below], &above, &weights);
                    below = above;
                }
                let features = self.row(&Like {
                    row: frames.convolutions.len() + 1,
                    name: "features".into(),
                    kind: BoxKind::Linear,
                    sizes: &[encoder.features()],
                    symbols: no_symbols(),
                });
                let weights = self.weight(&frames.linear.weight.name);
                self.up(&[below], &features, &weights);
                Top {
                    rows: vec![features],
                    next: frames.convolutions.len() + 2,
                }
            }
        }
    }

    /// An encoder: what reads a step, then the layers.
    fn encoder(&mut self, encoder: &Encoder<f32>, config: &ModelConfig, prefix: &str) -> Top {
        let features = self.reader(encoder, prefix);
        match &encoder.body {
            Body::Recurrent(stack) => {
                let layers = Layers {
                    owner: &format!("{prefix}rnn"),
                    cell: cell_name(config.cell),
                    count: config.num_layers,
                    hidden_size: stack.hidden_size(),
                    bidirectional: config.bidirectional,
                    spacing: 1 + usize::from(config.bidirectional),
                };
                self.recurrent(&layers, features).0
            }
            Body::FeedForward(_, view) => {
                self.plain(&format!("{prefix}mlp"), config, features, *view)
                    .0
            }
            Body::Direct => features,
        }
    }

    /// One vector of the states of a sequence.
    fn pooled(&mut self, top: &Top, pooling: Pooling, size: usize) -> Top {
        let name = match pooling {
            Pooling::Last if top.rows.len() > 1 => "last states",
            Pooling::Last => "last state",
            Pooling::Mean => "mean of all states",
            Pooling::Max => "greatest of all states",
        };
        let summary = self.last(&Like {
            row: top.next,
            name: name.into(),
            kind: BoxKind::Summary,
            sizes: &[size],
            symbols: no_symbols(),
        });
        match pooling {
            Pooling::Last => {
                // The reverse direction has read all when it is at the first step.
                for (row, at) in top.rows.iter().zip([LAST, 0]) {
                    self.arrow(row[at], summary[0], ArrowKind::Forward, &[]);
                }
            }
            Pooling::Mean | Pooling::Max => self.gather(&top.rows, &summary, &[]),
        }
        Top {
            rows: vec![summary],
            next: top.next + 1,
        }
    }

    /// The linear layer and what comes out of it; gives the row of the linear layer and that of the outputs.
    fn answer(&mut self, top: &Top, linear: (&str, usize), output: Like<'_>) -> (Row, Row) {
        let like = Like {
            row: top.next,
            name: linear.0.into(),
            kind: BoxKind::Linear,
            sizes: &[linear.1],
            symbols: no_symbols(),
        };
        let output = Like {
            row: top.next + 1,
            kind: BoxKind::Output,
            ..output
        };
        let is_one = top.rows[0].len() == 1;
        let (scores, outputs) = if is_one {
            (self.last(&like), self.last(&output))
        } else {
            (self.row(&like), self.row(&output))
        };
        let weights = self.weight("linear.weight");
        self.up(&top.rows, &scores, &weights);
        self.up(std::slice::from_ref(&scores), &outputs, &[]);
        (scores, outputs)
    }
}
