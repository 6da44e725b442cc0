//! A model unrolled over time, as data: which box feeds which, with the sizes of the tensors.
//!
//! One description for all drawings: [`Graph::to_text`] for a terminal, `Graph::to_svg` for the report and files, [`Graph::to_json`]
//! for programs. Of the steps of a sequence three are drawn, the first, the second and the last, with dots between.

mod build;
mod text;

use serde_json::{Value, json};

/// How many steps go in and how many come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceShape {
    /// A fixed input, a fixed output: no recurrence.
    OneToOne,
    /// A fixed input, a sequence.
    OneToMany,
    /// A sequence, a fixed output.
    ManyToOne,
    /// A sequence, then another.
    ManyToMany,
    /// A sequence, an output for each of its steps.
    ManyToManyAligned,
}

impl SequenceShape {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneToOne => "one to one",
            Self::OneToMany => "one to many",
            Self::ManyToOne => "many to one",
            Self::ManyToMany => "many to many",
            Self::ManyToManyAligned => "many to many, aligned",
        }
    }
}

/// What a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxKind {
    /// What is read at a step.
    Input,
    /// The vector of a token.
    Embedding,
    /// A convolution over a picture.
    Convolution,
    /// A recurrent layer at a step.
    Recurrent,
    /// What sums a sequence up.
    Summary,
    /// The state that a decoder's layer begins with.
    Bridge,
    /// What a decoder sees of the encoder's states.
    Attention,
    /// A linear layer, or a layer of the plain network.
    Linear,
    /// What comes out.
    Output,
    /// Steps, or layers, that are not drawn.
    Dots,
}

impl BoxKind {
    /// The name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Embedding => "embedding",
            Self::Convolution => "convolution",
            Self::Recurrent => "recurrent",
            Self::Summary => "summary",
            Self::Bridge => "bridge",
            Self::Attention => "attention",
            Self::Linear => "linear",
            Self::Output => "output",
            Self::Dots => "dots",
        }
    }
}

/// The part of a model that a box belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The only one, or the one that the others serve.
    Main,
    /// What reads the characters of a word.
    Spelling,
    /// What reads the source.
    Encoder,
    /// What writes the target.
    Decoder,
}

impl Part {
    /// The name for programs and headings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Spelling => "spelling",
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

/// How an arrow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrowKind {
    /// From layer to layer.
    Forward,
    /// From a step to the next.
    Recurrent,
    /// From a step to the one before it.
    Reverse,
    /// From what was written to what is read next.
    FedBack,
}

impl ArrowKind {
    /// The name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Recurrent => "recurrent",
            Self::Reverse => "reverse",
            Self::FedBack => "fed back",
        }
    }
}

/// A layer at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphBox {
    /// The name of its row.
    pub name: String,
    /// What is special about it at its step: `x1`; empty where nothing is.
    pub symbol: String,
    /// The sizes of what comes out of it.
    pub sizes: Vec<usize>,
    /// The row, 0 the lowest.
    pub row: usize,
    /// The column; time goes to the right.
    pub column: usize,
    /// What it stands for.
    pub kind: BoxKind,
    /// Where it belongs.
    pub part: Part,
}

/// A tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Its name in the model file.
    pub name: String,
    /// Its shape, as PyTorch has it.
    pub shape: Vec<usize>,
}

impl Weight {
    /// The name without what every name of its part has, and the shape: `weight_hh_l0 1024x256`.
    #[must_use]
    pub fn label(&self) -> String {
        let name = match self.name.split_once("rnn.") {
            Some((_, name)) => name,
            None => ["encoder.", "decoder."]
                .iter()
                .find_map(|part| self.name.strip_prefix(part))
                .unwrap_or(&self.name),
        };
        format!("{name} {}", product(&self.shape))
    }
}

/// One box feeds another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The number of the box that gives.
    pub from: usize,
    /// The number of the box that takes.
    pub to: usize,
    /// How it goes.
    pub kind: ArrowKind,
    /// The weights on the way, if there are any.
    pub weights: Vec<Weight>,
}

/// A model unrolled over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// How many steps go in and how many come out.
    pub shape: SequenceShape,
    /// The boxes; arrows count them from 0.
    pub boxes: Vec<GraphBox>,
    /// The arrows.
    pub arrows: Vec<Arrow>,
}

impl Graph {
    /// The description for programs.
    ///
    /// # Shapes
    /// `shape`; `boxes[]`, each `name symbol sizes[] row column kind part`; `arrows[]`, each `from to kind label` and
    /// `weights[]` of `name shape[]`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let boxes = self.boxes.iter().map(|of| {
            json!({
                "name": of.name,
                "symbol": of.symbol,
                "sizes": of.sizes,
                "row": of.row,
                "column": of.column,
                "kind": of.kind.name(),
                "part": of.part.name(),
            })
        });
        let arrows = self.arrows.iter().map(|arrow| {
            let weights = arrow.weights.iter();
            let labels: Vec<_> = weights.clone().map(Weight::label).collect();
            let weights = weights.map(|weight| json!({"name": weight.name, "shape": weight.shape}));
            json!({
                "from": arrow.from,
                "to": arrow.to,
                "kind": arrow.kind.name(),
                "label": labels.join(", "),
                "weights": weights.collect::<Vec<_>>(),
            })
        });
        json!({
            "shape": self.shape.name(),
            "boxes": boxes.collect::<Vec<_>>(),
            "arrows": arrows.collect::<Vec<_>>(),
        })
    }

    /// The parts that there are, in the order in which they are read.
    pub(crate) fn parts(&self) -> Vec<Part> {
        [Part::Spelling, Part::Encoder, Part::Main, Part::Decoder]
            .into_iter()
            .filter(|&part| self.boxes.iter().any(|of| of.part == part))
            .collect()
    }

    /// The column of a part's first step.
    pub(crate) fn first_column(&self, part: Part) -> usize {
        let inputs = self.boxes.iter().filter(|of| of.part == part);
        let inputs = inputs.filter(|of| of.kind == BoxKind::Input);
        inputs.map(|of| of.column).min().unwrap_or(0)
    }

    /// Whether two boxes are the two directions of one layer: the second one's row lies on the first one's.
    pub(crate) fn is_pair(&self, below: &GraphBox, above: &GraphBox) -> bool {
        let directed = |of: &GraphBox, words: &str| of.name.ends_with(words);
        below.part == above.part
            && below.row + 1 == above.row
            && directed(below, build::FORWARD)
            && directed(above, build::REVERSE)
    }

    /// The weights of the arrows that `take` chooses, each once.
    pub(crate) fn weights(&self, take: impl Fn(&Arrow) -> bool) -> Vec<&Weight> {
        let mut found: Vec<&Weight> = Vec::new();
        for weight in self
            .arrows
            .iter()
            .filter(|arrow| take(arrow))
            .flat_map(|a| &a.weights)
        {
            if !found.contains(&weight) {
                found.push(weight);
            }
        }
        found
    }
}

/// Sizes with crosses between: `64x64x3`.
pub(crate) fn product(sizes: &[usize]) -> String {
    let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
    sizes.join("x")
}

#[cfg(test)]
mod tests;
