use rand::Rng;
use refrain_kernels::{Compute, Panels, Scalar};

use super::batch::{SpelledWords, falling_order, rows_of};
use crate::nn::{
    CellKind, DistinctTokens, Embedding, Init, InputGradient, LayerInput, Nonlinearity, Parameter,
    Parameters, Stack, StackConfig, StackSpace, StackState, Steps,
};

/// Features of a character's vector.
const EMBEDDING_SIZE: usize = 32;
/// Units of each direction.
const HIDDEN_SIZE: usize = 64;

/// From the spelling of a word to a vector: the last states of a bidirectional LSTM over its characters, many to one.
///
/// ```text
/// v = [h_n forward ; h_n backward]
/// ```
///
/// # Shapes
/// `{owner}.embedding.weight`: `(characters, 32)`; `{owner}.rnn.*` as PyTorch's bidirectional `nn.LSTM` names them, 64
/// units each way; the vector: 128.
///
/// # References
/// Ling et al., "Finding function in form", 2015.
#[derive(Clone, Debug, PartialEq)]
pub struct CharacterEncoder<T> {
    /// The characters' vectors.
    pub embedding: Embedding<T>,
    /// The LSTM, both ways.
    pub stack: Stack<T>,
}

/// What passes over a [`CharacterEncoder`] reuse.
#[derive(Clone, Debug, Default)]
pub struct CharacterSpace<T> {
    /// For each place in the batch the word that stands there.
    order: Vec<usize>,
    steps: Steps,
    tokens: Vec<u32>,
    distinct: DistinctTokens,
    vectors: Panels<T>,
    d_vectors: Panels<T>,
    stack: StackSpace<T>,
    state: StackState<T>,
    d_output: Panels<T>,
}

fn stack_config() -> StackConfig {
    StackConfig {
        cell: CellKind::Lstm,
        nonlinearity: Nonlinearity::Tanh,
        input_size: EMBEDDING_SIZE,
        hidden_size: HIDDEN_SIZE,
        num_layers: 1,
        bidirectional: true,
        layer_norm: false,
        batch_norm: false,
        dropout: 0.0,
        recurrent_dropout: 0.0,
        init: Init::Uniform,
        forget_bias: Some(1.0),
    }
}

impl<T: Scalar> CharacterEncoder<T> {
    /// Features of a word's vector.
    pub const FEATURES: usize = 2 * HIDDEN_SIZE;

    /// Zeros.
    #[must_use]
    pub fn zeros(owner: &str, characters: usize) -> Self {
        Self {
            embedding: Embedding::zeros(&format!("{owner}.embedding"), characters, EMBEDDING_SIZE),
            stack: Stack::zeros(&stack_config(), &format!("{owner}.rnn")),
        }
    }

    /// Draws new weights.
    pub fn initialise(&mut self, rng: &mut impl Rng) {
        self.embedding.initialise(1.0, rng);
        self.stack.initialise(&stack_config(), rng);
    }

    /// The number of trainable numbers for an alphabet.
    #[must_use]
    pub fn parameter_estimate(characters: usize) -> f64 {
        let one_way = 4 * HIDDEN_SIZE * (EMBEDDING_SIZE + HIDDEN_SIZE + 2);
        (characters * EMBEDDING_SIZE + 2 * one_way) as f64
    }

    /// Lays the weights out for the kernels.
    pub fn pack(&self, space: &mut CharacterSpace<T>, with_backward: bool) {
        self.stack.pack(&mut space.stack, with_backward);
    }

    /// The vector of each distinct word, into the columns from `column` on of its row of `vectors`.
    ///
    /// # Panics
    /// If a word has no characters, a character is not in the alphabet, or the weights were not packed.
    pub fn forward(
        &self,
        compute: &Compute,
        space: &mut CharacterSpace<T>,
        words: &SpelledWords,
        vectors: &mut Panels<T>,
        column: usize,
    ) {
        let lengths: Vec<usize> = (0..words.words.len())
            .map(|word| words.spelling(word).len())
            .collect();
        space.order = falling_order(&lengths);
        let sorted: Vec<usize> = space.order.iter().map(|&word| lengths[word]).collect();
        space.steps = Steps::of_lengths(&sorted);
        space.tokens.clear();
        space
            .tokens
            .extend(rows_of(&space.steps).map(|(place, t)| words.spelling(space.order[place])[t]));
        space
            .distinct
            .set(&space.tokens, self.embedding.vocab_size());
        self.embedding
            .forward(space.distinct.tokens(), &mut space.vectors);
        space.state = self.stack.zero_state(lengths.len());
        self.stack.forward(
            compute,
            &mut space.stack,
            &space.steps,
            LayerInput::Table(&space.vectors, space.distinct.index()),
            &mut space.state,
            None,
        );
        for (place, &word) in space.order.iter().enumerate() {
            for (direction, state) in space.state.iter().enumerate() {
                for unit in 0..HIDDEN_SIZE {
                    let at = column + direction * HIDDEN_SIZE + unit;
                    vectors.set(word, at, state.h.get(place, unit));
                }
            }
        }
    }

    /// Carries the gradient of the vectors back, those columns of `d_vectors`.
    ///
    /// # Panics
    /// As [`CharacterEncoder::forward`].
    pub fn backward(
        &mut self,
        compute: &Compute,
        space: &mut CharacterSpace<T>,
        d_vectors: &Panels<T>,
        column: usize,
    ) {
        // The state's memory becomes that of its gradient.
        for (direction, state) in space.state.iter_mut().enumerate() {
            state.c.fill_zero();
            for (place, &word) in space.order.iter().enumerate() {
                for unit in 0..HIDDEN_SIZE {
                    let at = column + direction * HIDDEN_SIZE + unit;
                    state.h.set(place, unit, d_vectors.get(word, at));
                }
            }
        }
        space
            .d_output
            .reset(space.steps.rows(), self.stack.output_size());
        self.stack.backward(
            compute,
            &mut space.stack,
            &space.steps,
            LayerInput::Table(&space.vectors, space.distinct.index()),
            &space.d_output,
            Some(&space.state),
            None,
            InputGradient::Into(&mut space.d_vectors),
        );
        self.embedding
            .backward(space.distinct.tokens(), &space.d_vectors);
    }
}

impl<T: Scalar> Parameters<T> for CharacterEncoder<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        self.stack.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.embedding.visit_mut(visit);
        self.stack.visit_mut(visit);
    }
}
