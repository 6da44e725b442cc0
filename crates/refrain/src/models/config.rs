use super::characters::CharacterEncoder;
use super::encoder::{InputShape, Output};
use crate::nn::{
    AttentionKind, CellKind, FeedForwardConfig, FrameConfig, Init, Nonlinearity, Pooling,
    StackConfig, Window,
};

/// The architecture of a model, for every task; what a task has no use for is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The cell of every layer.
    pub cell: CellKind,
    /// The activation of the vanilla cell.
    pub nonlinearity: Nonlinearity,
    /// Units of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Features of a token's vector, or of what is seen of a video's frame.
    pub embedding_size: usize,
    /// Whether the layers read both ways.
    pub bidirectional: bool,
    /// Whether the sums in the cell are normalised over the units.
    pub layer_norm: bool,
    /// Whether what goes from layer to layer is normalised over the batch.
    pub batch_norm: bool,
    /// How the states of a sequence become one, in a classifier.
    pub pooling: Pooling,
    /// How a decoder looks at the encoder's states.
    pub attention: AttentionKind,
    /// Steps that the plain network sees at once.
    pub window: usize,
    /// Dropout between layers and before the linear layer, `0 ≤ p < 1`.
    pub dropout: f64,
    /// Dropout of the state on its way into the next step, one mask for the whole sequence.
    pub recurrent_dropout: f64,
    /// Whether the linear layer uses the embedding's weights (then both sizes are equal).
    pub tie_weights: bool,
    /// How the recurrent weights begin.
    pub init: Init,
    /// Where the LSTM's forget bias begins; `None` leaves what `init` gives.
    pub forget_bias: Option<f64>,
}

impl Default for ModelConfig {
    /// A small model: one LSTM layer of 128 units.
    fn default() -> Self {
        Self {
            cell: CellKind::Lstm,
            nonlinearity: Nonlinearity::Tanh,
            hidden_size: 128,
            num_layers: 1,
            embedding_size: 32,
            bidirectional: false,
            layer_norm: false,
            batch_norm: false,
            pooling: Pooling::Last,
            attention: AttentionKind::None,
            window: 1,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            tie_weights: false,
            init: Init::Uniform,
            forget_bias: Some(1.0),
        }
    }
}

impl ModelConfig {
    /// The recurrent stack of this model on inputs of `input_size` features.
    #[must_use]
    pub fn stack(&self, input_size: usize) -> StackConfig {
        StackConfig {
            cell: self.cell,
            nonlinearity: self.nonlinearity,
            input_size,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            bidirectional: self.bidirectional,
            layer_norm: self.layer_norm,
            batch_norm: self.batch_norm,
            dropout: self.dropout,
            recurrent_dropout: self.recurrent_dropout,
            init: self.init,
            forget_bias: self.forget_bias,
        }
    }

    /// The recurrent stack of this model's decoder: it goes forwards only.
    #[must_use]
    pub fn decoder_stack(&self) -> StackConfig {
        StackConfig {
            bidirectional: false,
            ..self.stack(self.embedding_size)
        }
    }

    /// The plain network of this model on inputs of `input_size` features.
    #[must_use]
    pub fn feed_forward(&self, input_size: usize) -> FeedForwardConfig {
        FeedForwardConfig {
            input_size,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            nonlinearity: self.nonlinearity,
            dropout: self.dropout,
            init: self.init,
        }
    }

    /// The window of the plain network that ends with a step.
    #[must_use]
    pub fn window_before(&self) -> Window {
        Window {
            before: self.window - 1,
            after: 0,
        }
    }

    /// The window of the plain network around a step; of an even number of steps one more lies before it.
    #[must_use]
    pub fn window_around(&self) -> Window {
        Window {
            before: self.window / 2,
            after: (self.window - 1) / 2,
        }
    }
}

/// Panels that a group of sixteen units keeps for the backward pass, and gates with weights.
fn slots_and_gates(cell: CellKind) -> (f64, f64) {
    match cell {
        CellKind::Rnn | CellKind::Mlp => (1.0, 1.0),
        CellKind::Gru => (4.0, 3.0),
        CellKind::Lstm => (4.0, 4.0),
    }
}

fn padded(size: usize) -> f64 {
    (size.div_ceil(16) * 16) as f64
}

impl ModelConfig {
    fn directions(&self) -> f64 {
        if self.bidirectional { 2.0 } else { 1.0 }
    }

    /// The number of trainable numbers in the layers between input and output, in floating point so that no size
    /// overflows.
    #[must_use]
    pub fn layers_estimate(&self, input_size: usize) -> f64 {
        let (_, gates) = slots_and_gates(self.cell);
        let hidden = self.hidden_size as f64;
        let ways = self.directions();
        let recurrent = if self.cell == CellKind::Mlp {
            0.0
        } else {
            hidden
        };
        let norms = if self.layer_norm { 3.0 } else { 0.0 };
        let one = |input: f64| ways * gates * hidden * (input + recurrent + 2.0 + norms);
        one(input_size as f64) + one(ways * hidden) * (self.num_layers as f64 - 1.0)
    }

    /// Numbers that the layers keep of each row over time while they are trained.
    #[must_use]
    pub fn activations_estimate(&self) -> f64 {
        let (slots, _) = slots_and_gates(self.cell);
        let hidden = self.directions() * padded(self.hidden_size);
        // Normalised sums of both sides; what recurrent dropout leaves; both directions side by side.
        let kept = if self.layer_norm {
            3.0 * slots + 1.0
        } else {
            slots
        } + f64::from(u8::from(self.recurrent_dropout > 0.0))
            + f64::from(u8::from(self.bidirectional))
            + f64::from(u8::from(self.batch_norm));
        hidden * (kept + 3.0) * self.num_layers as f64 + 4.0 * hidden
    }

    /// The number of trainable numbers of a language model.
    #[must_use]
    pub fn parameter_estimate(&self, vocab_size: usize) -> f64 {
        let (vocab, embedding, hidden) = (
            vocab_size as f64,
            self.embedding_size as f64,
            self.hidden_size as f64,
        );
        let linear = if self.tie_weights {
            vocab
        } else {
            vocab * (hidden + 1.0)
        };
        vocab * embedding + self.layers_estimate(self.seen_by_language_model()) + linear
    }

    /// Features that the first layer of a language model sees at a step.
    fn seen_by_language_model(&self) -> usize {
        if self.cell == CellKind::Mlp {
            self.window.saturating_mul(self.embedding_size)
        } else {
            self.embedding_size
        }
    }

    /// The number of trainable numbers of what reads a step, and the features that it gives.
    fn reader_estimate(&self, shape: &InputShape) -> (f64, usize) {
        let embedding = self.embedding_size as f64;
        match *shape {
            InputShape::Tokens(vocab_size) => (vocab_size as f64 * embedding, self.embedding_size),
            InputShape::Words {
                vocab_size,
                characters,
            } => (
                vocab_size as f64 * embedding
                    + CharacterEncoder::<f32>::parameter_estimate(characters),
                self.embedding_size + CharacterEncoder::<f32>::FEATURES,
            ),
            InputShape::Vectors { features, .. } => (0.0, features),
            InputShape::Frames {
                height,
                width,
                channels,
            } => {
                let frames = FrameConfig {
                    height,
                    width,
                    channels,
                    features: self.embedding_size,
                };
                (frames.parameter_estimate(), self.embedding_size)
            }
        }
    }

    /// Bytes that frames take while a batch of them is looked at; other readers take none to speak of.
    fn reader_memory(&self, shape: &InputShape, rows: usize) -> f64 {
        match *shape {
            InputShape::Frames {
                height,
                width,
                channels,
            } => FrameConfig {
                height,
                width,
                channels,
                features: self.embedding_size,
            }
            .memory_estimate(rows),
            _ => 0.0,
        }
    }

    /// The number of trainable numbers of a labeller of `classes` classes.
    #[must_use]
    pub fn labeller_estimate(&self, shape: &InputShape, output: Output, classes: usize) -> f64 {
        let (reader, features) = self.reader_estimate(shape);
        let seen = match (self.cell, output, shape) {
            (CellKind::Mlp, Output::Steps | Output::Past, _) => {
                self.window.saturating_mul(features)
            }
            (
                CellKind::Mlp,
                Output::Sequence,
                InputShape::Vectors {
                    seq_len: Some(seq_len),
                    ..
                },
            ) => seq_len.saturating_mul(features),
            _ => features,
        };
        let linear = (self.directions() * self.hidden_size as f64 + 1.0) * classes as f64;
        reader + self.layers_estimate(seen) + linear
    }

    /// An estimate of the bytes that training a labeller takes in all, with batches of `rows` rows over time.
    #[must_use]
    pub fn labeller_memory(
        &self,
        shape: &InputShape,
        output: Output,
        classes: usize,
        rows: usize,
    ) -> f64 {
        let parameters = self.labeller_estimate(shape, output, classes);
        let features = match *shape {
            InputShape::Vectors { features, .. } => features,
            InputShape::Tokens(_) | InputShape::Frames { .. } => self.embedding_size,
            // Words of a dozen characters, none twice.
            InputShape::Words { .. } => {
                self.embedding_size + 12 * 12 * CharacterEncoder::<f32>::FEATURES
            }
        };
        let frames = self.reader_memory(shape, rows);
        let window = if self.cell == CellKind::Mlp {
            self.window as f64
        } else {
            1.0
        };
        let row = self.activations_estimate()
            + 2.0 * padded(classes)
            + 3.0 * window * padded(features)
            + 16.0;
        4.0 * (9.0 * parameters + rows as f64 * row) + frames
    }

    /// The number of trainable numbers of an encoder-decoder that writes tokens of a vocabulary of `vocab_size`.
    #[must_use]
    pub fn encoder_decoder_estimate(&self, shape: &InputShape, vocab_size: usize) -> f64 {
        let is_fixed = !matches!(shape, InputShape::Tokens(_));
        let (hidden, embedding) = (self.hidden_size as f64, self.embedding_size as f64);
        let encoder = if is_fixed {
            // Of a labeller without layers the reader is left.
            self.reader_estimate(shape).0
        } else {
            self.labeller_estimate(shape, Output::Sequence, 0)
        };
        let encoded = match (is_fixed, shape) {
            (true, InputShape::Vectors { features, .. }) => *features as f64,
            (true, _) => embedding,
            (false, _) if self.cell == CellKind::Mlp => hidden,
            (false, _) => self.directions() * hidden,
        };
        let layers = self.num_layers as f64;
        let forwards = Self {
            bidirectional: false,
            ..self.clone()
        };
        let body = if self.cell == CellKind::Mlp {
            let seen = self.window as f64 * embedding + encoded;
            forwards.layers_estimate(0) + hidden * seen
        } else {
            let states = if self.cell == CellKind::Lstm {
                2.0
            } else {
                1.0
            };
            forwards.layers_estimate(self.embedding_size)
                + layers * states * hidden * (encoded + 1.0)
        };
        let attention = match self.attention {
            AttentionKind::None => 0.0,
            AttentionKind::Dot => hidden * (encoded + hidden),
            AttentionKind::General => hidden * (2.0 * encoded + hidden),
            AttentionKind::Additive => hidden * (2.0 * encoded + 2.0 * hidden + 1.0),
        };
        let vocab = vocab_size as f64 + 1.0;
        let linear = if self.tie_weights {
            vocab
        } else {
            vocab * (hidden + 1.0)
        };
        encoder + vocab * embedding + body + attention + linear
    }

    /// An estimate of the bytes that training an encoder-decoder takes in all, with batches of so many rows over time of the
    /// sources and of the targets.
    #[must_use]
    pub fn encoder_decoder_memory(
        &self,
        shape: &InputShape,
        vocab_size: usize,
        (sources, targets): (usize, usize),
    ) -> f64 {
        let is_fixed = !matches!(shape, InputShape::Tokens(_));
        let parameters = self.encoder_decoder_estimate(shape, vocab_size);
        let encoder = if is_fixed {
            self.reader_memory(shape, sources.min(512))
        } else {
            let row = self.activations_estimate() + 8.0 * padded(self.hidden_size) + 16.0;
            4.0 * sources as f64 * row
        };
        let attention = match self.attention {
            AttentionKind::None => 0.0,
            _ => (6.0 * self.directions() + 6.0) * padded(self.hidden_size) + 192.0,
        };
        let row = self.activations_estimate()
            + attention
            + 2.0 * padded(vocab_size + 1)
            + 4.0 * padded(self.hidden_size)
            + 16.0;
        4.0 * (9.0 * parameters + targets as f64 * row) + encoder
    }

    /// An estimate of the bytes that training a language model takes in all: weights, gradients, moments, packed copies,
    /// and the activations of a chunk.
    #[must_use]
    pub fn memory_estimate(&self, vocab_size: usize, batch: usize, seq_len: usize) -> f64 {
        let rows = batch as f64 * seq_len as f64;
        // What the plain network sees, and its gradient.
        let seen = if self.cell == CellKind::Mlp {
            2.0 * padded(self.seen_by_language_model())
        } else {
            0.0
        };
        let activations = rows * (self.activations_estimate() + seen + padded(vocab_size) + 16.0);
        4.0 * (9.0 * self.parameter_estimate(vocab_size) + activations)
    }
}
