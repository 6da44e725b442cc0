use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar, dropout};

use super::ModelConfig;
use super::batch::{BatchInputs, SequenceBatch, SpelledWords, rows_of};
use super::characters::{CharacterEncoder, CharacterSpace};
use super::decoder::add_rows;
use crate::nn::{
    CellKind, DistinctTokens, Embedding, FeedForward, FeedForwardSpace, FrameConfig, FrameEncoder,
    FrameSpace, InputGradient, LayerInput, Parameter, Parameters, Pooling, PoolingSpace, Stack,
    StackSpace, StackState, Steps, Window, pool_backward, pool_forward,
};

/// The mask on what the first layer reads: a number that no layer has.
const INPUT_MASK: u64 = 1 << 40;

/// What a sequence is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputShape {
    /// Tokens of a vocabulary of this size.
    Tokens(usize),
    /// Words of a vocabulary, each with its spelling in an alphabet.
    Words {
        /// Words, the unknown one too.
        vocab_size: usize,
        /// Characters, the unknown one too.
        characters: usize,
    },
    /// So many features a step; all sequences are `seq_len` steps long, where it is known.
    Vectors {
        /// Features.
        features: usize,
        /// Steps of every sequence.
        seq_len: Option<usize>,
    },
    /// A picture a step.
    Frames {
        /// Rows of pixels.
        height: usize,
        /// Pixels of a row.
        width: usize,
        /// Numbers of a pixel.
        channels: usize,
    },
}

impl InputShape {
    /// Numbers of a step, where it is made of numbers.
    #[must_use]
    pub fn step_size(&self) -> usize {
        match *self {
            Self::Tokens(_) | Self::Words { .. } => 0,
            Self::Vectors { features, .. } => features,
            Self::Frames {
                height,
                width,
                channels,
            } => height * width * channels,
        }
    }
}

/// What an encoder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A vector for each step.
    Steps,
    /// The same, where a step may know nothing of those after it: the plain network sees none of them.
    Past,
    /// A vector for each sequence: recurrent layers still give one for each step, to be pooled.
    Sequence,
    /// What the reader makes of a sequence of one step, a fixed input: there is no body.
    Features,
}

/// From the content of a step to the features that the first layer reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Reader<T> {
    /// Looks a token's vector up.
    Tokens(Embedding<T>),
    /// Joins a word's vector with what its spelling says.
    Words(Embedding<T>, CharacterEncoder<T>),
    /// Takes the features as they are.
    Vectors,
    /// Looks at a picture.
    Frames(FrameEncoder<T>),
}

/// From features to hidden states.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<T> {
    /// Recurrent layers: each step sees the state that the steps before it left.
    Recurrent(Stack<T>),
    /// The plain network, which sees what `View` shows it and remembers nothing.
    FeedForward(FeedForward<T>, View),
    /// Nothing: features are the hidden states.
    Direct,
}

/// What the plain network sees at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Each step with some neighbours.
    Window(Window),
    /// The mean over the steps of a sequence.
    Mean,
    /// The whole sequence, of so many steps.
    Whole(usize),
}

/// An encoder: from sequences to hidden states. Classifier and tagger stand on it.
///
/// ```text
/// e_t = embedding[x_t]  |  [embedding[x_t] ; characters(x_t)]  |  x_t  |  frames(x_t)
/// h_t = stack(e_t)
/// ```
///
/// # Shapes
/// Parameters are `{prefix}embedding.weight`, `{prefix}characters.*`, `{prefix}frames.*`, `{prefix}rnn.*` and
/// `{prefix}mlp.*`, as there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder<T> {
    /// From steps to features.
    pub reader: Reader<T>,
    /// From features to hidden states.
    pub body: Body<T>,
    config: ModelConfig,
    features: usize,
}

/// What passes over an [`Encoder`] reuse.
#[derive(Clone, Debug, Default)]
pub struct EncoderSpace<T> {
    distinct: DistinctTokens,
    /// Distinct vectors (tokens, words) or features, rows over time (pictures).
    vectors: Panels<T>,
    d_vectors: Panels<T>,
    characters: CharacterSpace<T>,
    frames: FrameSpace<T>,
    stack: StackSpace<T>,
    state: StackState<T>,
    /// The plain network's: what it sees and how it is laid out.
    viewed: Panels<T>,
    d_viewed: Panels<T>,
    gathered: Panels<T>,
    d_gathered: Panels<T>,
    view_steps: Steps,
    pooling: PoolingSpace,
    feed_forward: FeedForwardSpace<T>,
}

impl<T: Scalar> EncoderSpace<T> {
    /// The recurrent layers' part.
    #[must_use]
    pub fn stack(&self) -> &StackSpace<T> {
        &self.stack
    }

    /// The same, to be asked for more.
    pub fn stack_mut(&mut self) -> &mut StackSpace<T> {
        &mut self.stack
    }
}

impl<T: Scalar> Encoder<T> {
    /// An encoder of zeros.
    #[must_use]
    pub fn zeros(config: &ModelConfig, shape: &InputShape, output: Output, prefix: &str) -> Self {
        let embedding = |vocab_size: usize| {
            Embedding::zeros(
                &format!("{prefix}embedding"),
                vocab_size,
                config.embedding_size,
            )
        };
        let (reader, features) = match *shape {
            InputShape::Tokens(vocab_size) => {
                (Reader::Tokens(embedding(vocab_size)), config.embedding_size)
            }
            InputShape::Words {
                vocab_size,
                characters,
            } => {
                let characters =
                    CharacterEncoder::zeros(&format!("{prefix}characters"), characters);
                let features = config.embedding_size + CharacterEncoder::<T>::FEATURES;
                (Reader::Words(embedding(vocab_size), characters), features)
            }
            InputShape::Vectors { features, .. } => (Reader::Vectors, features),
            InputShape::Frames {
                height,
                width,
                channels,
            } => {
                let frames = FrameConfig {
                    height,
                    width,
                    channels,
                    features: config.embedding_size,
                };
                let frames = FrameEncoder::zeros(frames, &format!("{prefix}frames"));
                (Reader::Frames(frames), config.embedding_size)
            }
        };
        let body = if output == Output::Features {
            Body::Direct
        } else if config.cell == CellKind::Mlp {
            let view = match (output, shape) {
                (Output::Steps, _) => View::Window(config.window_around()),
                (Output::Past, _) => View::Window(config.window_before()),
                (
                    Output::Sequence,
                    InputShape::Vectors {
                        seq_len: Some(seq_len),
                        ..
                    },
                ) => View::Whole(*seq_len),
                (Output::Sequence | Output::Features, _) => View::Mean,
            };
            let seen = match view {
                View::Window(window) => window.len() * features,
                View::Mean => features,
                View::Whole(steps) => steps * features,
            };
            Body::FeedForward(
                FeedForward::zeros(&config.feed_forward(seen), &format!("{prefix}mlp")),
                view,
            )
        } else {
            Body::Recurrent(Stack::zeros(
                &config.stack(features),
                &format!("{prefix}rnn"),
            ))
        };
        Self {
            reader,
            body,
            config: config.clone(),
            features,
        }
    }

    /// Draws new weights.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        match &mut self.reader {
            Reader::Tokens(embedding) => embedding.initialise(1.0, rng),
            Reader::Words(embedding, characters) => {
                embedding.initialise(1.0, rng);
                characters.initialise(rng);
            }
            Reader::Vectors => {}
            Reader::Frames(frames) => frames.initialise(rng),
        }
        match &mut self.body {
            Body::Recurrent(stack) => stack.initialise(&self.config.stack(self.features), rng),
            Body::FeedForward(net, _) => {
                net.initialise(&self.config.feed_forward(0), rng);
            }
            Body::Direct => {}
        }
    }

    /// Features of a step that the body reads.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Features of an output.
    #[must_use]
    pub fn output_size(&self) -> usize {
        match &self.body {
            Body::Recurrent(stack) => stack.output_size(),
            Body::FeedForward(..) => self.config.hidden_size,
            Body::Direct => self.features,
        }
    }

    /// The first column of what the reverse direction gives, where there is one.
    #[must_use]
    pub fn reverse_from(&self) -> Option<usize> {
        match &self.body {
            Body::Recurrent(stack) if self.config.bidirectional => Some(stack.hidden_size()),
            _ => None,
        }
    }

    /// Whether the outputs are one for each sequence already.
    #[must_use]
    pub fn gives_sequences(&self) -> bool {
        matches!(
            self.body,
            Body::FeedForward(_, View::Mean | View::Whole(_)) | Body::Direct
        )
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut EncoderSpace<T>, with_backward: bool) {
        match &self.reader {
            Reader::Tokens(_) | Reader::Vectors => {}
            Reader::Words(_, characters) => characters.pack(&mut space.characters, with_backward),
            Reader::Frames(frames) => frames.pack(&mut space.frames, with_backward),
        }
        match &self.body {
            Body::Recurrent(stack) => stack.pack(&mut space.stack, with_backward),
            Body::FeedForward(net, _) => net.pack(&mut space.feed_forward, with_backward),
            Body::Direct => {}
        }
    }

    /// The outputs of the last forward pass: rows over time, or a row for each sequence where the encoder
    /// [gives those](Encoder::gives_sequences).
    #[must_use]
    pub fn output<'s>(&self, space: &'s EncoderSpace<T>) -> &'s Panels<T> {
        match &self.body {
            Body::Recurrent(_) => space.stack.output(),
            Body::FeedForward(..) => space.feed_forward.hidden(self.config.num_layers - 1),
            Body::Direct => &space.gathered,
        }
    }

    /// The mask on what the first layer reads.
    fn input_mask(&self, mask: Option<DropoutKey>) -> Option<DropoutKey> {
        mask.filter(|_| self.config.dropout > 0.0)
            .map(|key| DropoutKey {
                layer: INPUT_MASK,
                ..key
            })
    }

    /// Where rows of `vectors` stand: distinct ones have no time.
    fn mask_vectors(
        &self,
        compute: &Compute,
        steps: &Steps,
        vectors: &mut Panels<T>,
        mask: Option<DropoutKey>,
    ) {
        let Some(key) = self.input_mask(mask) else {
            return;
        };
        let rows = [0, vectors.rows()];
        let offsets = match &self.reader {
            Reader::Tokens(_) | Reader::Words(..) => &rows,
            Reader::Frames(_) => steps.offsets(),
            // What was measured is not dropped.
            Reader::Vectors => return,
        };
        dropout(compute, key, self.config.dropout, offsets, vectors);
    }

    /// From the content of the steps to features in `space.vectors`.
    fn read(
        &self,
        compute: &Compute,
        space: &mut EncoderSpace<T>,
        batch: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        match (&self.reader, &batch.inputs) {
            (Reader::Tokens(embedding), BatchInputs::Tokens(tokens)) => {
                space.distinct.set(tokens, embedding.vocab_size());
                embedding.forward(space.distinct.tokens(), &mut space.vectors);
            }
            (Reader::Words(embedding, characters), BatchInputs::Words(words)) => {
                let size = embedding.embedding_size();
                space.vectors.resize(words.words.len(), self.features);
                let mut row = vec![T::ZERO; self.features];
                for (at, &word) in words.words.iter().enumerate() {
                    let vector = &embedding.weight.value[word as usize * size..][..size];
                    row[..size].copy_from_slice(vector);
                    space.vectors.copy_from_rows(at, &row);
                }
                characters.forward(
                    compute,
                    &mut space.characters,
                    words,
                    &mut space.vectors,
                    size,
                );
            }
            (Reader::Vectors, BatchInputs::Vectors(_)) => {}
            (Reader::Frames(frames), BatchInputs::Frames(pictures)) => frames.forward(
                compute,
                &mut space.frames,
                pictures,
                batch.steps.rows(),
                &mut space.vectors,
            ),
            (reader, _) => panic!("a batch of another kind than {}", reader.name()),
        }
        self.mask_vectors(compute, &batch.steps, &mut space.vectors, mask);
    }

    /// Forward; what comes of it is in [`Encoder::output`]. With `mask` as in training: dropout, batch statistics.
    ///
    /// # Panics
    /// If the batch is not of the kind and size that the encoder was made for, or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut EncoderSpace<T>,
        batch: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        self.read(compute, space, batch, mask);
        match &self.body {
            Body::Recurrent(stack) => {
                space.state = stack.zero_state(batch.steps.batch());
                let input = input_of(&space.vectors, &space.distinct, batch);
                stack.forward(
                    compute,
                    &mut space.stack,
                    &batch.steps,
                    input,
                    &mut space.state,
                    mask,
                );
            }
            Body::FeedForward(net, view) => {
                let features =
                    features_of(&space.vectors, &space.distinct, batch, &mut space.gathered);
                view.forward(
                    &batch.steps,
                    features,
                    &mut space.viewed,
                    &mut space.pooling,
                );
                view.set_steps(&batch.steps, &mut space.view_steps);
                net.forward(
                    compute,
                    &mut space.feed_forward,
                    &space.view_steps,
                    &space.viewed,
                    mask,
                );
            }
            Body::Direct => {
                let mut gathered = std::mem::take(&mut space.gathered);
                let features =
                    features_of(&space.vectors, &space.distinct, batch, &mut gathered).clone();
                space.gathered = features;
            }
        }
    }

    /// Backward from the gradient of the outputs: gradients into the parameters.
    ///
    /// # Panics
    /// As [`Encoder::forward`].
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut EncoderSpace<T>,
        batch: &SequenceBatch<T>,
        d_output: &Panels<T>,
        mask: Option<DropoutKey>,
    ) {
        let wanted = !matches!(self.reader, Reader::Vectors);
        match &mut self.body {
            Body::Recurrent(stack) => {
                let input = input_of(&space.vectors, &space.distinct, batch);
                let d_input = if wanted {
                    InputGradient::Into(&mut space.d_vectors)
                } else {
                    InputGradient::None
                };
                stack.backward(
                    compute,
                    &mut space.stack,
                    &batch.steps,
                    input,
                    d_output,
                    None,
                    mask,
                    d_input,
                );
            }
            Body::FeedForward(net, view) => {
                net.backward(
                    compute,
                    &mut space.feed_forward,
                    &space.view_steps,
                    &space.viewed,
                    mask,
                    d_output,
                    &mut space.d_viewed,
                );
                if wanted {
                    view.backward(
                        &batch.steps,
                        &space.d_viewed,
                        &mut space.d_gathered,
                        &space.pooling,
                    );
                    scatter(
                        &space.d_gathered,
                        &space.distinct,
                        batch,
                        &space.vectors,
                        &mut space.d_vectors,
                    );
                }
            }
            Body::Direct => {
                if wanted {
                    let d_vectors = &mut space.d_vectors;
                    scatter(d_output, &space.distinct, batch, &space.vectors, d_vectors);
                }
            }
        }
        if wanted {
            let mut d_vectors = std::mem::take(&mut space.d_vectors);
            self.mask_vectors(compute, &batch.steps, &mut d_vectors, mask);
            self.read_backward(compute, space, batch, &d_vectors);
            space.d_vectors = d_vectors;
        }
    }

    fn read_backward(
        &mut self,
        compute: &Compute,
        space: &mut EncoderSpace<T>,
        batch: &SequenceBatch<T>,
        d_vectors: &Panels<T>,
    ) {
        match (&mut self.reader, &batch.inputs) {
            (Reader::Tokens(embedding), _) => {
                embedding.backward(space.distinct.tokens(), d_vectors);
            }
            (Reader::Words(embedding, characters), BatchInputs::Words(words)) => {
                let size = embedding.embedding_size();
                embedding.weight.grad.fill(T::ZERO);
                for (at, &word) in words.words.iter().enumerate() {
                    let grad = &mut embedding.weight.grad[word as usize * size..][..size];
                    for (column, sum) in grad.iter_mut().enumerate() {
                        *sum += d_vectors.get(at, column);
                    }
                }
                characters.backward(compute, &mut space.characters, d_vectors, size);
            }
            (Reader::Frames(frames), _) => {
                frames.backward(compute, &mut space.frames, d_vectors);
            }
            (Reader::Vectors | Reader::Words(..), _) => {}
        }
    }

    /// Calls `visit` on each parameter and buffer.
    fn visit_parts<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Parameters<T>)) {
        match &self.reader {
            Reader::Tokens(embedding) => visit(embedding),
            Reader::Words(embedding, characters) => {
                visit(embedding);
                visit(characters);
            }
            Reader::Vectors => {}
            Reader::Frames(frames) => visit(frames),
        }
        match &self.body {
            Body::Recurrent(stack) => visit(stack),
            Body::FeedForward(net, _) => visit(net),
            Body::Direct => {}
        }
    }

    fn visit_parts_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut dyn Parameters<T>)) {
        match &mut self.reader {
            Reader::Tokens(embedding) => visit(embedding),
            Reader::Words(embedding, characters) => {
                visit(embedding);
                visit(characters);
            }
            Reader::Vectors => {}
            Reader::Frames(frames) => visit(frames),
        }
        match &mut self.body {
            Body::Recurrent(stack) => visit(stack),
            Body::FeedForward(net, _) => visit(net),
            Body::Direct => {}
        }
    }
}

impl<T> Reader<T> {
    fn name(&self) -> &'static str {
        match self {
            Self::Tokens(_) => "tokens",
            Self::Words(..) => "spelt words",
            Self::Vectors => "vectors",
            Self::Frames(_) => "pictures",
        }
    }
}

/// For each row its place among the distinct vectors, where there are such.
fn index_of<'a, T>(distinct: &'a DistinctTokens, batch: &'a SequenceBatch<T>) -> Option<&'a [u32]> {
    match &batch.inputs {
        BatchInputs::Tokens(_) => Some(distinct.index()),
        BatchInputs::Words(SpelledWords { index, .. }) => Some(index),
        BatchInputs::Vectors(_) | BatchInputs::Frames(_) => None,
    }
}

fn input_of<'a, T>(
    vectors: &'a Panels<T>,
    distinct: &'a DistinctTokens,
    batch: &'a SequenceBatch<T>,
) -> LayerInput<'a, T> {
    match (&batch.inputs, index_of(distinct, batch)) {
        (_, Some(index)) => LayerInput::Table(vectors, index),
        (BatchInputs::Vectors(features), _) => LayerInput::Features(features),
        (_, None) => LayerInput::Features(vectors),
    }
}

/// The features of every row.
fn features_of<'a, T: Scalar>(
    vectors: &'a Panels<T>,
    distinct: &DistinctTokens,
    batch: &'a SequenceBatch<T>,
    gathered: &'a mut Panels<T>,
) -> &'a Panels<T> {
    match (&batch.inputs, index_of(distinct, batch)) {
        (_, Some(index)) => {
            gathered.resize(index.len(), vectors.columns());
            for (row, &at) in index.iter().enumerate() {
                gathered.copy_rows(row, vectors, at as usize, 1);
            }
            gathered
        }
        (BatchInputs::Vectors(features), _) => features,
        (_, None) => vectors,
    }
}

/// The gradient of the distinct vectors from that of every row: one chain for each, from the first row to the last.
fn scatter<T: Scalar>(
    d_rows: &Panels<T>,
    distinct: &DistinctTokens,
    batch: &SequenceBatch<T>,
    vectors: &Panels<T>,
    d_vectors: &mut Panels<T>,
) {
    let Some(index) = index_of(distinct, batch) else {
        d_vectors.clone_from(d_rows);
        return;
    };
    d_vectors.reset(vectors.rows(), vectors.columns());
    add_rows(d_rows, index, d_vectors);
}

impl View {
    /// One step of one row for each sequence, or the steps as they are.
    fn set_steps(self, steps: &Steps, view: &mut Steps) {
        match self {
            Self::Window(_) => view.clone_from(steps),
            Self::Mean | Self::Whole(_) => view.set_uniform(1, steps.batch()),
        }
    }

    fn forward<T: Scalar>(
        self,
        steps: &Steps,
        features: &Panels<T>,
        viewed: &mut Panels<T>,
        space: &mut PoolingSpace,
    ) {
        match self {
            Self::Window(window) => window.forward(steps, features, viewed),
            Self::Mean => pool_forward(Pooling::Mean, steps, None, features, viewed, space),
            Self::Whole(seq_len) => {
                assert_eq!(steps.len(), seq_len, "steps of a sequence");
                let columns = features.columns();
                viewed.resize(steps.batch(), seq_len * columns);
                for (row, (place, t)) in rows_of(steps).enumerate() {
                    for column in 0..columns {
                        viewed.set(place, t * columns + column, features.get(row, column));
                    }
                }
            }
        }
    }

    fn backward<T: Scalar>(
        self,
        steps: &Steps,
        d_viewed: &Panels<T>,
        d_features: &mut Panels<T>,
        space: &PoolingSpace,
    ) {
        match self {
            Self::Window(window) => window.backward(steps, d_viewed, d_features),
            Self::Mean => {
                pool_backward(Pooling::Mean, steps, None, d_viewed, d_features, space);
            }
            Self::Whole(seq_len) => {
                let columns = d_viewed.columns() / seq_len;
                d_features.resize(steps.rows(), columns);
                for (row, (place, t)) in rows_of(steps).enumerate() {
                    for column in 0..columns {
                        d_features.set(row, column, d_viewed.get(place, t * columns + column));
                    }
                }
            }
        }
    }
}

impl<T: Scalar> Parameters<T> for Encoder<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.visit_parts(&mut |part| part.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.visit_parts_mut(&mut |part| part.visit_mut(visit));
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.visit_parts(&mut |part| part.visit_buffers(visit));
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.visit_parts_mut(&mut |part| part.visit_buffers_mut(visit));
    }
}
