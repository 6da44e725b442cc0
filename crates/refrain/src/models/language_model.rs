use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar, dropout};

use crate::nn::{
    CellKind, DistinctTokens, Embedding, Init, InputGradient, LayerInput, Linear, Nonlinearity,
    PackedLinear, Parameter, Parameters, SoftmaxCrossEntropy, Stack, StackConfig, StackSpace,
    StackState, Steps,
};

/// The architecture of a language model: embedding, recurrent stack, linear.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModelConfig {
    /// The cell of every layer.
    pub cell: CellKind,
    /// The activation of the vanilla cell.
    pub nonlinearity: Nonlinearity,
    /// Units of each layer.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Features of a token's vector.
    pub embedding_size: usize,
    /// Dropout between layers and before the linear layer, `0 ≤ p < 1`.
    pub dropout: f64,
    /// Whether the linear layer uses the embedding's weights (then both sizes are equal).
    pub tie_weights: bool,
    /// How the recurrent weights begin.
    pub init: Init,
    /// Where the LSTM's forget bias begins; `None` leaves what `init` gives.
    pub forget_bias: Option<f64>,
}

impl Default for LanguageModelConfig {
    /// A small model: one LSTM layer of 128 units.
    fn default() -> Self {
        Self {
            cell: CellKind::Lstm,
            nonlinearity: Nonlinearity::Tanh,
            hidden_size: 128,
            num_layers: 1,
            embedding_size: 32,
            dropout: 0.0,
            tie_weights: false,
            init: Init::Uniform,
            forget_bias: Some(1.0),
        }
    }
}

impl LanguageModelConfig {
    fn stack(&self) -> StackConfig {
        StackConfig {
            cell: self.cell,
            nonlinearity: self.nonlinearity,
            input_size: self.embedding_size,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            dropout: self.dropout,
            recurrent_dropout: 0.0,
            bidirectional: false,
            layer_norm: false,
            batch_norm: false,
            init: self.init,
            forget_bias: self.forget_bias,
        }
    }

    /// The number of trainable numbers, in floating point so that no size overflows.
    #[must_use]
    pub fn parameter_estimate(&self, vocab_size: usize) -> f64 {
        let gates = match self.cell {
            CellKind::Rnn => 1.0,
            CellKind::Gru => 3.0,
            CellKind::Lstm => 4.0,
        };
        let (vocab, embedding, hidden) = (
            vocab_size as f64,
            self.embedding_size as f64,
            self.hidden_size as f64,
        );
        let first = gates * hidden * (embedding + hidden + 2.0);
        let further = gates * hidden * (2.0 * hidden + 2.0) * (self.num_layers as f64 - 1.0);
        let linear = if self.tie_weights {
            vocab
        } else {
            vocab * (hidden + 1.0)
        };
        vocab * embedding + first + further + linear
    }

    /// An estimate of the bytes that training takes in all: weights, gradients, moments, packed copies, and the
    /// activations of a chunk.
    #[must_use]
    pub fn memory_estimate(&self, vocab_size: usize, batch: usize, seq_len: usize) -> f64 {
        let slots = if self.cell == CellKind::Rnn { 1.0 } else { 4.0 };
        let pad = |size: usize| (size.div_ceil(16) * 16) as f64;
        let rows = batch as f64 * seq_len as f64;
        let layer = pad(self.hidden_size) * (slots + 3.0) * self.num_layers as f64;
        let activations = rows * (layer + 4.0 * pad(self.hidden_size) + pad(vocab_size) + 16.0);
        4.0 * (9.0 * self.parameter_estimate(vocab_size) + activations)
    }
}

/// A recurrent language model: from each token and the state to scores for the next token.
///
/// ```text
/// e_t = embedding[x_t]
/// h_t = stack(e_t, state)
/// y_t = W h_t + b                 scores; softmax(y_t) is the distribution of x_(t+1)
/// L_t = -log softmax(y_t)[x_(t+1)]
/// ```
///
/// # Shapes
/// `embedding.weight`: `(vocab_size, embedding_size)`; `rnn.*` as PyTorch's `nn.LSTM` names them; `linear.weight`:
/// `(vocab_size, hidden_size)`; `linear.bias`: `(vocab_size)`.
///
/// # References
/// Mikolov et al., "Recurrent neural network based language model", 2010; weight tying: Press and Wolf, 2017.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModel<T> {
    /// The architecture.
    pub config: LanguageModelConfig,
    /// The tokens' vectors.
    pub embedding: Embedding<T>,
    /// The recurrent layers.
    pub stack: Stack<T>,
    /// From the highest hidden state to the scores. With tied weights its weight is a copy of the embedding's.
    pub linear: Linear<T>,
}

/// Everything that passes over a language model reuse, so that a training step allocates nothing after the first.
#[derive(Clone, Debug, Default)]
pub struct LanguageModelSpace<T> {
    steps: Steps,
    distinct: DistinctTokens,
    vectors: Panels<T>,
    d_vectors: Panels<T>,
    stack: StackSpace<T>,
    linear: PackedLinear<T>,
    dropped: Panels<T>,
    logits: Panels<T>,
    d_top: Panels<T>,
    loss: SoftmaxCrossEntropy,
}

impl<T: Scalar> LanguageModelSpace<T> {
    /// The hidden states of a layer from the last pass, rows over time.
    #[must_use]
    pub fn hidden(&self, layer: usize) -> &Panels<T> {
        self.stack.forward_hidden(layer)
    }

    /// The loss of each token of the last pass, nats, step after step.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        self.loss.losses()
    }

    /// Gradients of the initial states after a backward pass.
    #[must_use]
    pub fn d_initial(&self) -> &StackState<T> {
        self.stack.d_initial()
    }
}

/// Tokens of a batch and the tokens that follow them.
#[derive(Clone, Copy, Debug)]
pub struct TokenBatch<'a> {
    /// Step after step, `batch` tokens each.
    pub inputs: &'a [u32],
    /// The token after each of them.
    pub targets: &'a [u32],
    /// Rows.
    pub batch: usize,
}

impl<T: Scalar> LanguageModel<T> {
    /// A model of zeros.
    #[must_use]
    pub fn zeros(config: &LanguageModelConfig, vocab_size: usize) -> Self {
        Self {
            config: config.clone(),
            embedding: Embedding::zeros("embedding", vocab_size, config.embedding_size),
            stack: Stack::zeros(&config.stack(), "rnn"),
            linear: Linear::zeros("linear", config.hidden_size, vocab_size),
        }
    }

    /// A model with weights drawn from `rng`.
    #[must_use]
    pub fn new(config: &LanguageModelConfig, vocab_size: usize, rng: &mut impl Rng) -> Self {
        let mut model = Self::zeros(config, vocab_size);
        // Vectors of tokens are normal as in PyTorch; a tied one also scores, where that deviation would be far too great.
        let deviation = if config.tie_weights {
            1.0 / (config.hidden_size as f64).sqrt()
        } else {
            1.0
        };
        model.embedding.initialise(deviation, rng);
        model.stack.initialise(&config.stack(), rng);
        model.linear.initialise(rng);
        model
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.embedding.vocab_size()
    }

    /// All states zero.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> StackState<T> {
        self.stack.zero_state(batch)
    }

    fn pack(&mut self, space: &mut LanguageModelSpace<T>, with_backward: bool) {
        if self.config.tie_weights {
            self.linear
                .weight
                .value
                .copy_from_slice(&self.embedding.weight.value);
        }
        self.stack.pack(&mut space.stack, with_backward);
        self.linear.pack(&mut space.linear, with_backward);
    }

    /// From tokens to scores, in `space.logits`.
    fn scores(
        &self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        inputs: &[u32],
        batch: usize,
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) {
        space.steps.set_uniform(inputs.len() / batch, batch);
        space.distinct.set(inputs, self.vocab_size());
        self.embedding
            .forward(space.distinct.tokens(), &mut space.vectors);
        let input = LayerInput::Table(&space.vectors, space.distinct.index());
        self.stack
            .forward(compute, &mut space.stack, &space.steps, input, state, mask);
        let mut top = space.stack.output();
        if let Some(key) = self.output_mask(mask) {
            space.dropped.clone_from(top);
            dropout(
                compute,
                key,
                self.config.dropout,
                space.steps.offsets(),
                &mut space.dropped,
            );
            top = &space.dropped;
        }
        self.linear
            .forward(compute, &space.linear, top, &mut space.logits);
    }

    /// The mask before the linear layer.
    fn output_mask(&self, mask: Option<DropoutKey>) -> Option<DropoutKey> {
        let layer = self.config.num_layers as u64;
        mask.filter(|_| self.config.dropout > 0.0)
            .map(|key| DropoutKey { layer, ..key })
    }

    /// One forward and backward pass of truncated backpropagation through time: the mean loss in nats a token, its
    /// gradients in the parameters, the state carried on in `state`.
    ///
    /// The gradient stops at the initial state: what earlier chunks contributed to it is left out.
    ///
    /// # Panics
    /// If the tokens are not whole steps or not in the vocabulary, or the state has another batch.
    pub fn loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        tokens: TokenBatch<'_>,
        state: &mut StackState<T>,
        mask: Option<DropoutKey>,
    ) -> f64 {
        self.pack(space, true);
        self.scores(compute, space, tokens.inputs, tokens.batch, state, mask);
        let total = space
            .loss
            .forward_backward(compute, &mut space.logits, tokens.targets);
        let top = match self.output_mask(mask) {
            Some(_) => &space.dropped,
            None => space.stack.output(),
        };
        self.linear.backward(
            compute,
            &mut space.linear,
            &space.steps,
            top,
            &space.logits,
            &mut space.d_top,
        );
        if let Some(key) = self.output_mask(mask) {
            dropout(
                compute,
                key,
                self.config.dropout,
                space.steps.offsets(),
                &mut space.d_top,
            );
        }
        self.stack.backward(
            compute,
            &mut space.stack,
            &space.steps,
            LayerInput::Table(&space.vectors, space.distinct.index()),
            &space.d_top,
            None,
            mask,
            InputGradient::Into(&mut space.d_vectors),
        );
        self.embedding
            .backward(space.distinct.tokens(), &space.d_vectors);
        if self.config.tie_weights {
            refrain_kernels::add_assign(&mut self.embedding.weight.grad, &self.linear.weight.grad);
        }
        total / tokens.targets.len() as f64
    }

    /// Makes `space` ready for [`LanguageModel::loss`].
    pub fn prepare(&mut self, space: &mut LanguageModelSpace<T>) {
        self.pack(space, false);
    }

    /// The sum of the losses in nats, without gradients or dropout; the state is carried on. `space` must have been
    /// prepared since the weights last changed.
    ///
    /// # Panics
    /// As [`LanguageModel::loss_and_gradients`].
    pub fn loss(
        &self,
        compute: &Compute,
        space: &mut LanguageModelSpace<T>,
        tokens: TokenBatch<'_>,
        state: &mut StackState<T>,
    ) -> f64 {
        self.scores(compute, space, tokens.inputs, tokens.batch, state, None);
        space
            .loss
            .forward(compute, &mut space.logits, tokens.targets)
    }

    /// The parameters that files hold: the tied weight too.
    pub fn visit_all<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        self.stack.visit(visit);
        self.linear.visit(visit);
    }

    /// The same, to be changed.
    pub fn visit_all_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.embedding.visit_mut(visit);
        self.stack.visit_mut(visit);
        self.linear.visit_mut(visit);
    }
}

impl<T: Scalar> Parameters<T> for LanguageModel<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.embedding.visit(visit);
        self.stack.visit(visit);
        if self.config.tie_weights {
            visit(&self.linear.bias);
        } else {
            self.linear.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.embedding.visit_mut(visit);
        self.stack.visit_mut(visit);
        if self.config.tie_weights {
            visit(&mut self.linear.bias);
        } else {
            self.linear.visit_mut(visit);
        }
    }
}

/// One stream through a language model, token by token: the weights are packed once, and the first layer's product is formed
/// once for each token.
///
/// Its scores are those of a pass over the whole sequence, bit for bit.
#[derive(Debug)]
pub struct Stream<'m, T> {
    model: &'m LanguageModel<T>,
    compute: Compute,
    space: LanguageModelSpace<T>,
    state: StackState<T>,
    tables: Vec<Option<Panels<T>>>,
    scores: Vec<T>,
}

impl<'m, T: Scalar> Stream<'m, T> {
    /// A stream at state zero.
    #[must_use]
    pub fn new(model: &'m mut LanguageModel<T>, isa: refrain_kernels::Isa) -> Self {
        let mut space = LanguageModelSpace::default();
        model.prepare(&mut space);
        let model = &*model;
        space.steps.set_uniform(1, 1);
        Self {
            model,
            compute: Compute::single(isa),
            space,
            state: model.zero_state(1),
            tables: vec![None; model.vocab_size()],
            scores: vec![T::ZERO; model.vocab_size()],
        }
    }

    /// Back to state zero.
    pub fn reset(&mut self) {
        self.state.iter_mut().for_each(crate::nn::State::fill_zero);
    }

    /// The states of all layers.
    #[must_use]
    pub fn state(&self) -> &StackState<T> {
        &self.state
    }

    /// Reads a token and gives the scores of the next one.
    ///
    /// # Panics
    /// If the token is not in the vocabulary.
    pub fn step(&mut self, token: u32) -> &[T] {
        let Self {
            model,
            compute,
            space,
            state,
            tables,
            scores,
        } = self;
        let table = tables[token as usize].get_or_insert_with(|| {
            model.embedding.forward(&[token], &mut space.vectors);
            model
                .stack
                .project_first(compute, &space.stack, &space.vectors)
        });
        model
            .stack
            .step_table(compute, &mut space.stack, &space.steps, table, state);
        model.linear.forward(
            compute,
            &space.linear,
            space.stack.output(),
            &mut space.logits,
        );
        space.logits.copy_to_rows(0, scores);
        scores
    }
}
